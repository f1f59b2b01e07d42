"""Chooses which files of a project's page are taken, and says of every other by which rule not.

Pure: the moment at which ages are judged is given, once for a whole sync. A rule has the name of
its option. What a version alone decides is decided once a version.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

import msgspec
from packaging.requirements import Requirement
from packaging.specifiers import InvalidSpecifier, Specifier, SpecifierSet
from packaging.tags import compatible_tags, cpython_tags
from packaging.version import Version

from flowsync.selection import MinimumAge, NamePatterns, Refusal, read_time
from flowsync.sources.pypi.options import PypiOptions, check_line, is_pattern
from flowsync.sources.pypi.pages.filenames import FilenameError, read_filename, version_of
from flowsync.sources.pypi.pages.links import host_of
from flowsync.sources.pypi.pages.names import normalized, project_name
from flowsync.sources.pypi.pages.page import DIGESTS, Page, PageFile
from flowsync.sources.pypi.requirements import Wanted, Wish

_PLATFORMS: Final = {
    "linux": ("linux_*", "manylinux*", "musllinux*"),
    "windows": ("win32", "win_*"),
    "macos": ("macosx_*",),
}
_LONG_AGO: Final = datetime.min.replace(tzinfo=UTC)


class Selected(msgspec.Struct, frozen=True, kw_only=True):
    """What is taken of a project, in the order of its page, and what is not, those included that
    the page itself refused. `due` is when the first file that is too young becomes old enough.
    """

    files: tuple[PageFile, ...]
    refused: tuple[Refusal, ...]

    @property
    def due(self) -> datetime | None:
        """The first moment at which more may be taken although upstream is unchanged."""
        return min((each.until for each in self.refused if each.until is not None), default=None)

    def refusal_of(self, filename: str) -> Refusal | None:
        """Return why a file is not taken, `None` when it is, or is not on the page."""
        return next((each for each in self.refused if each.filename == filename), None)


class _Release(msgspec.Struct, frozen=True):
    """What the version of a file decides. `wishes` are those that it fulfils; of no wishes at all,
    every file is wanted.
    """

    version: Version
    refusal: tuple[str, str] | None
    wishes: tuple[Wish, ...]
    pinned: bool


class Selection:
    """The rules of a sync, as `options` and `wanted` say, at the moment `now`."""

    def __init__(self, options: PypiOptions, wanted: Wanted, now: datetime) -> None:
        self.options = options
        self.wanted = wanted
        self.now = now
        self._private = NamePatterns(_spelled(options.private))
        self._exempt = NamePatterns(_spelled(options.min_age_exempt))
        lines = [line for line in options.exclude if not is_pattern(line)]
        patterns = _spelled(line for line in options.exclude if is_pattern(line))
        self._excluded_names = NamePatterns(patterns)
        self._excluded: defaultdict[str, list[SpecifierSet]] = defaultdict(list)
        for line in lines:
            found: Requirement = check_line("exclude", line)
            self._excluded[normalized(found.name)].append(found.specifier)
        self._excluded_wholly = {
            name for name, specifiers in self._excluded.items() if "" in map(str, specifiers)
        }
        self._expressions = [re.compile(text) for text in options.exclude_regex]
        self._age = MinimumAge(
            options.min_age_seconds, now, without_time=options.no_time == "allow"
        )
        self._formats = frozenset(options.formats)
        self._tags = _Tags(options.platforms, options.pythons)
        self._hosts = NamePatterns(host.lower() for host in options.file_hosts)
        self._max_file, self._max_project = options.max_file_bytes, options.max_project_bytes

    def refusal_of_project(self, name: str) -> Refusal | None:
        """Return why nothing of a project is taken, whose name is normalized, or `None`."""
        if name in self._private:
            return Refusal(name, "private", "it is one of the names that are never taken")
        if name in self._excluded_names or name in self._excluded_wholly:
            return Refusal(name, "exclude")
        if any(expression.fullmatch(name) for expression in self._expressions):
            return Refusal(name, "exclude_regex")
        if not self.wanted.everything and name not in self.wanted.projects:
            return Refusal(name, "projects", "it is not asked for")
        return None

    def select(self, page: Page, project: str) -> Selected:
        """Return what is taken of the page of a project, whose name is normalized."""
        whole = self.refusal_of_project(project)
        if whole is not None:
            refused = [Refusal(file.filename, whole.rule, whole.reason) for file in page.files]
            return Selected(files=(), refused=(*page.refused, *refused))
        return _OneProject(self, project, host_of(page.url)).select(page)

    def refusal_of_path(self, path: str) -> Refusal | None:
        """Return why nothing is at a path, `files/PROJECT/FILENAME` or `simple/PROJECT/`, as far as
        names tell; `None` when they do not forbid it.
        """
        words = path.strip("/").split("/")
        if words[0] in {"files", "simple"}:
            del words[0]
        project = project_name(words[0]) if words else None
        if project is None:
            return None
        whole = self.refusal_of_project(project)
        if whole is not None or len(words) != 2:
            return whole
        filename = words[1].removesuffix(".metadata").removesuffix(".provenance")
        try:
            name = read_filename(filename, project)
        except FilenameError as error:
            return Refusal(filename, error.rule, str(error))
        file = PageFile(
            filename=filename, url="", version=name.version, kind=name.kind, tags=name.tags
        )
        return _OneProject(self, project, "").refusal_of_name(file)


class _OneProject:
    """A project whose files are being chosen."""

    def __init__(self, rules: Selection, project: str, index_host: str) -> None:
        self.rules = rules
        self.project = project
        self.index_host = index_host
        self.wishes = rules.wanted.projects.get(project, [])
        self.constraints = rules.wanted.constraints.get(project, [])
        self.releases: dict[str, _Release] = {}
        self.hosts: dict[str, bool] = {}

    def select(self, page: Page) -> Selected:
        """Choose the files, first one by one, then by release."""
        taken, refused = [], list(page.refused)
        for file in page.files:
            refusal = self._judge(file)
            if refusal is None:
                taken.append(file)
            else:
                refused.append(refusal)
        taken = self._newest(taken, refused)
        taken = self._not_too_large(taken, refused)
        if self.rules.options.provenance != "off":
            taken = [self._with_usable_provenance(file) for file in taken]
        return Selected(files=tuple(taken), refused=tuple(refused))

    def refusal_of_name(self, file: PageFile) -> Refusal | None:
        """Return why a file is not taken, as far as its name tells."""
        release = self._release(file.version)
        found = release.refusal or self._wrong_kind(file, release)
        return None if found is None else Refusal(file.filename, *found)

    def _release(self, version: str) -> _Release:
        found = self.releases.get(version)
        if found is None:
            found = self.releases[version] = self._judge_version(version)
        return found

    def _judge_version(self, text: str) -> _Release:
        version = version_of(text)
        wishes = tuple(wish for wish in self.wishes if _fulfils(wish, version))
        pinned = any(wish.hashes or _pins(wish.specifier) for wish in wishes)
        return _Release(version, self._refusal_of_version(version, wishes), wishes, pinned)

    def _refusal_of_version(
        self, version: Version, wishes: tuple[Wish, ...]
    ) -> tuple[str, str] | None:
        options = self.rules.options
        if self.wishes and not wishes:
            return self._source_of_wishes(), f"version {version} is not asked for"
        if not all(_fulfils(each, version) for each in self.constraints):
            return "requirements", f"a constraint does not allow version {version}"
        for specifier in self.rules._excluded.get(self.project, ()):
            if specifier.contains(version, prereleases=True):
                return "exclude", ""
        if (
            not options.prereleases
            and version.is_prerelease
            and not any(wish.hashes or _names_prerelease(wish.specifier) for wish in wishes)
        ):
            return "prereleases", ""
        return None

    def _source_of_wishes(self) -> str:
        options = {wish.source == "projects" for wish in self.wishes}
        return "projects" if True in options else "requirements"

    def _judge(self, file: PageFile) -> Refusal | None:
        """Return why a file is not taken, as far as it alone tells."""
        refusal = self.refusal_of_name(file)
        if refusal is not None:
            return refusal
        found = self._wrong_content(file, self.releases[file.version])
        if found is not None:
            return Refusal(file.filename, *found)
        if self.project in self.rules._exempt:
            return None
        return self.rules._age.refusal(file.filename, file.upload_time)

    def _wrong_content(self, file: PageFile, release: _Release) -> tuple[str, str] | None:
        digests = _digests(file)
        if release.wishes and not any(
            not wish.hashes or digests & wish.hashes for wish in release.wishes
        ):
            return "requirements", "its digest is none of those that are asked for"
        for constraint in self.constraints:
            if constraint.hashes and not digests & constraint.hashes:
                return "requirements", "its digest is none of those that a constraint allows"
        if not digests and not self.rules.options.unverified:
            return "unverified", "upstream tells no digest of it that can be believed"
        if not self.may_come_from(file.url):
            return "file_hosts", f"it would come from {host_of(file.url)!r}"
        return None

    def _wrong_kind(self, file: PageFile, release: _Release) -> tuple[str, str] | None:
        rules = self.rules
        if any(expression.fullmatch(file.filename) for expression in rules._expressions):
            return "exclude_regex", ""
        if file.kind not in rules._formats:
            return "formats", f"it is of the kind {file.kind!r}"
        rule = rules._tags.rule_against(file)
        if rule is not None:
            return rule, ""
        if file.yanked is not None and rules.options.yanked == "refuse" and not release.pinned:
            return "yanked", ""
        if rules._max_file is not None and (file.size or 0) > rules._max_file:
            return "max_file_size", f"it has {file.size} bytes"
        return None

    def _newest(self, taken: list[PageFile], refused: list[Refusal]) -> list[PageFile]:
        wanted = self.rules.options.newest
        if wanted is None:
            return taken
        files: defaultdict[str, list[PageFile]] = defaultdict(list)
        for file in taken:
            files[file.version].append(file)
        good = [
            version
            for version, of_it in files.items()
            if any(file.yanked is None for file in of_it)
        ]
        by_version = sorted(good, key=lambda each: self.releases[each].version, reverse=True)
        order = by_version
        if self.rules.options.newest_by == "upload":
            order = sorted(by_version, key=lambda each: _uploaded(files[each]), reverse=True)
        kept = set(order[:wanted])
        kept.update(version for version in files if self.releases[version].pinned)
        stable = (each for each in by_version if not self.releases[each].version.is_prerelease)
        kept.update([first] if (first := next(stable, None)) is not None else [])
        refused += [Refusal(file.filename, "newest") for file in taken if file.version not in kept]
        return [file for file in taken if file.version in kept]

    def _not_too_large(self, taken: list[PageFile], refused: list[Refusal]) -> list[PageFile]:
        most = self.rules._max_project
        total = sum(file.size or 0 for file in taken)
        if most is None or total <= most:
            return taken
        reason = f"the files of the project have {total} bytes"
        refused += [Refusal(file.filename, "max_project_size", reason) for file in taken]
        return []

    def may_come_from(self, url: str) -> bool:
        """Say whether a file may come from the host of a URL."""
        authority = url.split("/", 3)[2]
        known = self.hosts.get(authority)
        if known is None:
            known = self.hosts[authority] = self._may_be_asked(host_of(url))
        return known

    def _may_be_asked(self, host: str) -> bool:
        if host == self.index_host:
            return True
        if self.rules._hosts:
            return host in self.rules._hosts
        return not is_internal(host)

    def _with_usable_provenance(self, file: PageFile) -> PageFile:
        if file.provenance is None or self.may_come_from(file.provenance):
            return file
        return msgspec.structs.replace(file, provenance=None)


class _Tags:
    """The rules of tags: platforms, and versions of Python."""

    def __init__(self, platforms: Sequence[str], pythons: Sequence[str]) -> None:
        patterns = [tag for each in platforms for tag in _PLATFORMS.get(each, (each,))]
        self._platforms = NamePatterns(pattern.lower() for pattern in patterns)
        self._pythons = tuple(pythons)
        self._interpreters = frozenset(pair for each in pythons for pair in _usable_tags(each))
        self._rules: dict[str, str | None] = {}

    def rule_against(self, file: PageFile) -> str | None:
        """Return the rule by which a file runs nowhere, if there is one."""
        if file.tags:
            if file.tags not in self._rules:
                if len(self._rules) > 10_000:
                    self._rules.clear()
                self._rules[file.tags] = self._judge(file.tags.lower())
            rule = self._rules[file.tags]
            if rule is not None:
                return rule
        if self._pythons and file.requires_python is not None:
            return None if _allows(file.requires_python, self._pythons) else "pythons"
        return None

    def _judge(self, tags: str) -> str | None:
        interpreters, abis, platforms = (part.split(".") for part in tags.split("-"))
        if self._platforms and not any(
            platform == "any" or platform in self._platforms for platform in platforms
        ):
            return "platforms"
        # `py` alone is what an installer says that runs on any.
        if self._pythons and not any(
            interpreter == "py" or (interpreter, abi) in self._interpreters
            for interpreter in interpreters
            for abi in abis
        ):
            return "pythons"
        return None


@lru_cache(maxsize=64)
def _usable_tags(python: str) -> frozenset[tuple[str, str]]:
    """Return the pairs of interpreter and binary interface that a version of Python can use."""
    pypy = python.startswith("pypy")
    threads = "t" if python.endswith("t") else ""
    major, minor = map(int, python.removeprefix("pypy").removesuffix("t").split("."))
    number, version = f"{major}{minor}", (major, minor)
    if pypy:
        # The binary interface of PyPy has a number of its own: `pypy310_pp73`.
        interpreter = f"pp{number}"
        tags = [(interpreter, f"pypy{number}_pp{n}") for n in range(70, 80)]
        tags += [(interpreter, "none")]
    else:
        interpreter = f"cp{number}"
        endings = {(2, 7): ("m", "mu", ""), (3, 8): ("",)}.get(version, (threads,))
        if (3, 0) <= version < (3, 8):
            endings = ("m", "")
        abis = [f"{interpreter}{ending}" for ending in endings]
        tags = [(tag.interpreter, tag.abi) for tag in cpython_tags(version, abis, ["any"])]
    tags += [(t.interpreter, t.abi) for t in compatible_tags(version, interpreter, ["any"])]
    return frozenset(tags)


_MOST_CLAUSES: Final = 32
"""Clauses of what a file requires. What says more is not meant to be fulfilled."""


@lru_cache(maxsize=4096)
def _allows(requires_python: str, pythons: tuple[str, ...]) -> bool:
    """Say whether one of the versions of Python fulfils what a file requires. A text that says
    nothing allows all.
    """
    try:
        specifier = SpecifierSet(requires_python)
    except InvalidSpecifier:
        return True
    clauses = list(specifier)
    if len(clauses) > _MOST_CLAUSES:
        return True
    plain = (python.removeprefix("pypy").removesuffix("t") for python in pythons)
    return any(
        specifier.contains(f"{python}.{micro}", prereleases=True)
        for python in plain
        for micro in _micros(python, clauses)
    )


def _micros(python: str, clauses: Iterable[Specifier]) -> list[int]:
    """Return the third numbers of a version of Python that clauses may tell apart."""
    found = {0, 999}
    for clause in clauses:
        named = re.match(rf"{re.escape(python)}\.(\d{{1,4}})(?!\d)", clause.version)
        if named:
            found.update({max(int(named[1]) - 1, 0), int(named[1]), int(named[1]) + 1})
    return sorted(found)


@lru_cache(maxsize=4096)
def _specifier(text: str) -> SpecifierSet:
    return SpecifierSet(text)


def _fulfils(wish: Wish, version: Version) -> bool:
    return not wish.specifier or _specifier(wish.specifier).contains(version, prereleases=True)


@lru_cache(maxsize=4096)
def _pins(specifier: str) -> bool:
    return any(
        each.operator == "===" or (each.operator == "==" and not each.version.endswith(".*"))
        for each in _specifier(specifier)
    )


@lru_cache(maxsize=4096)
def _names_prerelease(specifier: str) -> bool:
    named = [version_of(each.version) for each in _specifier(specifier) if each.operator != "!="]
    return any(version is not None and version.is_prerelease for version in named)


def _digests(file: PageFile) -> frozenset[str]:
    known = ((name, getattr(file, name)) for name in DIGESTS)
    return frozenset(f"{name}:{digest}" for name, digest in known if digest is not None)


def _uploaded(files: Iterable[PageFile]) -> datetime:
    """Return when a release came: when the first of its files did."""
    times: list[Any] = [read_time(file.upload_time) for file in files]
    return min((time for time in times if time is not None), default=_LONG_AGO)


def _spelled(patterns: Iterable[str]) -> list[str]:
    """Return patterns of names in the spelling of normalized names."""
    return [normalized(pattern) for pattern in patterns]


def is_internal(host: str) -> bool:
    """Say whether a host is localhost or an address of IP, in whatever way it is written."""
    name = host.rstrip(".").lower()
    last = name.rpartition(".")[2]
    return (
        ":" in name
        or name in {"", "localhost", "localhost.localdomain"}
        or last == "localhost"
        or last.isdigit()
        or re.fullmatch(r"0x[0-9a-f]*", last) is not None
    )
