"""Says which paragraphs of an index a mirror keeps, and which rule leaves one out. Pure.

`include`, `exclude`, `sections`, `exclude_sections` and `priorities` judge a paragraph by itself.
`latest` and `with_dependencies` need to see all of them before: a survey keeps names and versions,
with dependencies too, some hundred bytes a paragraph.

`exclude` and `exclude_sections` are last words. Dependencies bring back what the other rules leave
out, also older versions.
"""

import re
from collections.abc import Iterable, Sequence
from fnmatch import translate
from typing import Final, NamedTuple

import msgspec

from flowsync import MetadataError
from flowsync.packages.deb_versions import version_key
from flowsync.sources.deb.cut.closure import Candidate, Closure, Place
from flowsync.sources.deb.options import DebOptions

_LAST_WORDS: Final = frozenset({"exclude", "exclude_sections"})

_FIELDS: Final = re.compile(
    rb"\n(?=[avpsdAVPSD])"
    rb"(package|version|architecture|section|priority|depends|pre-depends|provides)[ \t]*:"
    rb"([^\n]*(?:\n[ \t][^\n]*)*)",
    re.IGNORECASE,
)


class Facts(msgspec.Struct, frozen=True, gc=False):
    """What the rules ask of a paragraph; empty where it has no such field. `needs` are Pre-Depends
    and Depends.
    """

    package: str
    version: str = ""
    architecture: str = ""
    section: str = ""
    priority: str = ""
    needs: str = ""
    provides: str = ""


class Verdict(NamedTuple):
    """Whether a paragraph is kept, and the rule that says so; empty where no rule speaks."""

    kept: bool
    rule: str = ""

    def __str__(self) -> str:
        by = f" by `{self.rule}`" if self.rule else ""
        return f"{'kept' if self.kept else 'left out'}{by}"


def facts_of(number: int, paragraph: bytes) -> Facts:
    """Return what the rules ask of a paragraph of `Packages` or `Sources`. Raise `MetadataError`,
    with its number, for one without a name.
    """
    # The line end before a field is what is looked for: that is twice as fast as `^`.
    found = _FIELDS.findall(b"\n" + paragraph)
    fields: dict[str, str] = {
        name.lower().decode(): value.decode(errors="surrogateescape").strip()
        for name, value in found
    }
    package = fields.get("package")
    if not package:
        raise MetadataError(f"paragraph {number}: it has no Package")
    get = fields.get
    before, needs = get("pre-depends", ""), get("depends", "")
    return Facts(
        package,
        get("version", ""),
        get("architecture", ""),
        get("section", ""),
        get("priority", "").lower(),
        f"{before}, {needs}" if before else needs,
        get("provides", ""),
    )


class Filters:
    """The rules that judge a paragraph by itself. What is empty says nothing.

    `include` and `exclude` are patterns of names as a shell has them. So are sections: one without
    a slash is that of any component, `net` is also `contrib/net`.
    """

    def __init__(
        self,
        *,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        sections: Sequence[str] = (),
        exclude_sections: Sequence[str] = (),
        priorities: Sequence[str] = (),
    ) -> None:
        self._include = _any_of(include)
        self._exclude = _any_of(exclude)
        self._sections = _any_of(_with_components(sections))
        self._exclude_sections = _any_of(_with_components(exclude_sections))
        self._priorities = frozenset(each.lower() for each in priorities)

    def left_out_by(self, facts: Facts) -> str | None:
        """Return the name of the rule that leaves a paragraph out. Last words come first."""
        package, section = facts.package, facts.section
        if self._exclude and self._exclude.match(package):
            return "exclude"
        if self._exclude_sections and self._exclude_sections.match(section):
            return "exclude_sections"
        if self._include and not self._include.match(package):
            return "include"
        if self._sections and not self._sections.match(section):
            return "sections"
        if self._priorities and facts.priority not in self._priorities:
            return "priorities"
        return None


class Selection:
    """The paragraphs that a mirror keeps of one kind of index: of binary packages, of sources, or
    of packages for the installer; in all suites and architectures.

    Where `needs_survey` says so, `see` gets every paragraph before the first is judged. A `Place`
    is suite and architecture of the index; an index of several architectures has the empty one,
    and its paragraphs tell theirs.
    """

    def __init__(
        self,
        filters: Filters,
        *,
        latest: int | None = None,
        with_dependencies: bool = False,
        by_architecture: bool = True,
    ) -> None:
        self._filters = filters
        self._by_architecture = by_architecture
        self._latest = None if latest is None else _Latest(latest)
        self._closure = Closure() if with_dependencies else None
        self._closed = False

    @classmethod
    def of(cls, options: DebOptions, *, binary: bool = True) -> "Selection":
        """Return what options keep. Only binary packages have dependencies that count, and versions
        for each architecture.
        """
        filters = Filters(
            include=options.include,
            exclude=options.exclude,
            sections=options.sections,
            exclude_sections=options.exclude_sections,
            priorities=options.priorities,
        )
        with_dependencies = options.with_dependencies and binary
        return cls(
            filters,
            latest=options.latest,
            with_dependencies=with_dependencies,
            by_architecture=binary,
        )

    @property
    def needs_survey(self) -> bool:
        """Whether all paragraphs must be seen before one is judged."""
        return self._latest is not None or self._closure is not None

    @property
    def unmet(self) -> Sequence[str]:
        """What packages that are kept need and no index has: some of it, in words."""
        return () if self._closure is None else self._closure.unmet

    def see(self, place: Place, facts: Facts) -> None:
        """Take a paragraph into the survey."""
        rule = self._filters.left_out_by(facts)
        if rule is None and self._latest is not None:
            self._latest.see(place, self._told_apart(facts))
        if self._closure is not None and rule not in _LAST_WORDS:
            self._closure.add(_candidate(place, facts, wanted=rule is None))

    def judge(self, place: Place, facts: Facts) -> Verdict:
        """Say whether a paragraph is kept."""
        rule = self._filters.left_out_by(facts)
        if (
            rule is None
            and self._latest is not None
            and not self._latest.has(place, self._told_apart(facts))
        ):
            rule = "latest"
        if rule is None:
            return Verdict(True)
        if self._closure is not None and rule not in _LAST_WORDS and self._needed(place, facts):
            return Verdict(True, "with_dependencies")
        return Verdict(False, rule)

    def _told_apart(self, facts: Facts) -> Facts:
        """Return facts by which versions are told apart: those of a source are for any
        architecture.
        """
        if self._by_architecture:
            return facts
        return msgspec.structs.replace(facts, architecture="")

    def _needed(self, place: Place, facts: Facts) -> bool:
        assert self._closure is not None
        if not self._closed:
            self._closure.close(self._is_latest)
            self._closed = True
        return self._closure.has(_place(place, facts.architecture), facts.package, facts.version)

    def _is_latest(self, candidate: Candidate) -> bool:
        latest = self._latest
        return latest is None or latest.keeps(
            candidate.place, candidate.package, candidate.architecture, candidate.version
        )


class _Latest:
    """The newest versions of each name and architecture in each place."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._kept: dict[tuple[Place, str], dict[str, tuple[str, ...]]] = {}

    def see(self, place: Place, facts: Facts) -> None:
        names = self._kept.setdefault((_place(place, facts.architecture), facts.architecture), {})
        before = names.get(facts.package)
        if before is None:
            names[facts.package] = (facts.version,)
        elif not _among(facts.version, before):
            newest = sorted((*before, facts.version), key=version_key, reverse=True)
            names[facts.package] = tuple(newest[: self._count])

    def has(self, place: Place, facts: Facts) -> bool:
        place = _place(place, facts.architecture)
        return self.keeps(place, facts.package, facts.architecture, facts.version)

    def keeps(self, place: Place, package: str, architecture: str, version: str) -> bool:
        kept = self._kept.get((place, architecture), {}).get(package, ())
        return _among(version, kept)


def _among(version: str, others: Iterable[str]) -> bool:
    """Say whether a version is there, perhaps written differently."""
    if version in others:
        return True
    key = version_key(version)
    return any(version_key(other) == key for other in others)


def _place(place: Place, architecture: str) -> Place:
    return place if place.architecture else Place(place.suite, architecture)


def _candidate(place: Place, facts: Facts, *, wanted: bool) -> Candidate:
    return Candidate(
        place=_place(place, facts.architecture),
        package=facts.package,
        version=facts.version,
        architecture=facts.architecture,
        priority=facts.priority,
        needs=facts.needs,
        provides=facts.provides,
        wanted=wanted,
    )


def _with_components(sections: Iterable[str]) -> list[str]:
    given = list(sections)
    return [*given, *(f"*/{section}" for section in given if "/" not in section)]


def _any_of(patterns: Sequence[str]) -> re.Pattern[str] | None:
    if not patterns:
        return None
    return re.compile("|".join(map(translate, patterns)))
