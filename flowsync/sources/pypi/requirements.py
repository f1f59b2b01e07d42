"""Reads what is wanted: the lines of options, requirements.txt, and lock files.

1. Files are read from disk, by plain blocking code. Their own -r and -c lead to files beside them.
2. Several lines for one project each add what they want; constraints take from all of them.
3. Markers do not count, because a mirror serves every environment. What no index can give (a URL, a
   folder, a checkout) is told, and left out.
4. A file that cannot be understood raises `SettingsError` with its path and line.
"""

import os
import re
import shlex
import tomllib
from collections.abc import Iterator
from hashlib import sha256
from typing import Any, Final

import msgspec

from flowsync.errors import SettingsError
from flowsync.sources.pypi.options import EVERYTHING, PypiOptions, check_line
from flowsync.sources.pypi.pages.filenames import read_version
from flowsync.sources.pypi.pages.names import normalized, problem_with_name
from flowsync.sources.pypi.pages.page import DIGESTS

Hashes = frozenset[str]
"""Digests as `sha256:0123…`."""

NO_HASHES: Final[Hashes] = frozenset()


class Wish(msgspec.Struct, frozen=True):
    """Versions of a project that are wanted: those that fulfil `specifier`, and if there are
    hashes, of their files those that have one. `source` is the option or file that says so.
    """

    specifier: str
    hashes: Hashes
    source: str


class Unfit(msgspec.Struct, frozen=True):
    """A line or entry of a file that no index can fulfil."""

    source: str
    text: str
    reason: str


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What is wanted of an index: all of it, or the projects by their normalized names. A
    constraint counts for a project that is wanted anyway.
    """

    everything: bool
    projects: dict[str, list[Wish]]
    constraints: dict[str, list[Wish]]
    unfit: list[Unfit]

    def fingerprint(self) -> str:
        """Return a digest of what is wanted, which is the same as long as that is."""
        said = [self.everything, *map(_spelled_out, (self.projects, self.constraints))]
        return sha256(msgspec.json.encode(said)).hexdigest()


def _spelled_out(wishes: dict[str, list[Wish]]) -> list[object]:
    return [
        [name, sorted({(each.specifier, *sorted(each.hashes)) for each in wishes[name]})]
        for name in sorted(wishes)
    ]


def read_wanted(options: PypiOptions) -> Wanted:
    """Return what `projects` and `requirements` say. Blocks: it reads files."""
    wanted = Wanted(everything=options.everything, projects={}, constraints={}, unfit=[])
    for line in options.projects:
        if line.strip() != EVERYTHING:
            found = check_line("projects", line)
            _add(wanted.projects, found.name, Wish(str(found.specifier), NO_HASHES, "projects"))
    for path in options.requirements:
        name = os.path.basename(path)
        if name == "uv.lock":
            _read_uv_lock(path, wanted)
        elif name == "poetry.lock":
            _read_poetry_lock(path, wanted)
        elif name == "pylock.toml" or re.fullmatch(r"pylock\.[^.]+\.toml", name):
            _read_pylock(path, wanted)
        else:
            _Lines(wanted).read(path, constraints=False)
    return wanted


def _add(wishes: dict[str, list[Wish]], name: str, wish: Wish) -> None:
    wishes.setdefault(normalized(name), []).append(wish)


# --- requirements.txt -------------------------------------------------------------------------

_COMMENT: Final = re.compile(r"(?:^|\s)#.*$")
_HASH: Final = re.compile(r"(sha256|sha384|sha512):([0-9a-fA-F]+)")
_ARCHIVE: Final = re.compile(r"\.(?:whl|zip|tar\.gz|tgz|tar\.bz2|tar\.xz|tar)$", re.IGNORECASE)
_PLACE: Final = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*:/|^[./\\~]|^[^@;\[<>=!]*[/\\]")
_OTHER_FILES: Final = {"-r": False, "--requirement": False, "-c": True, "--constraint": True}
_EDITABLE: Final = frozenset({"-e", "--editable"})
_WITH_VALUE: Final = frozenset(
    {
        "-f", "--find-links", "-i", "--index-url", "--pypi-url", "--extra-index-url", "--no-binary",
        "--only-binary", "--trusted-host", "--use-feature", "--exclude-newer",
    }
)  # fmt: skip
_WITHOUT_VALUE: Final = frozenset(
    {"--no-index", "--prefer-binary", "--pre", "--require-hashes", "--always-unzip", "-Z"}
)
_OF_ONE: Final = frozenset({"--global-option", "--config-settings", "--config-setting", "-C"})


class _Lines:
    """Reads requirements.txt, and the files that it names."""

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self.seen: set[tuple[str, bool]] = set()

    def read(self, path: str, *, constraints: bool) -> None:
        """Read a file, unless it was read before."""
        waiting = [(path, constraints)]
        while waiting:
            path, constraints = waiting.pop(0)
            key = (os.path.realpath(path), constraints)
            if key in self.seen:
                continue
            self.seen.add(key)
            for number, line in _logical_lines(_text(path)):
                try:
                    waiting += self._read_line(line, path, number, constraints=constraints)
                except ValueError as error:
                    raise SettingsError(f"{path}, line {number}: {error}") from None

    def _read_line(
        self, line: str, path: str, number: int, *, constraints: bool
    ) -> Iterator[tuple[str, bool]] | list[tuple[str, bool]]:
        """Take what a line wants. Return the files that it names."""
        source = f"{path}, line {number}"
        if line.startswith("-"):
            return list(self._options(shlex.split(line), path, source, constraints=constraints))
        # Options begin at the first word with a dash: `name==1 --hash=…`.
        found = re.search(r"\s-", line)
        text = line[: found.start()].strip() if found else line
        words = shlex.split(line[found.start() :]) if found else []
        hashes = frozenset(_hashes(words))
        if _PLACE.search(text) or _ARCHIVE.search(text.partition(";")[0].strip()):
            self._leave_out(source, text, "it names a file, a folder or a URL")
            return []
        place = re.match(r"[^;]*?\s*@\s*\S", text)
        if place:
            self._leave_out(source, text, "it names a URL")
            return []
        requirement = check_line("the line", text)
        wishes = self.wanted.constraints if constraints else self.wanted.projects
        _add(wishes, requirement.name, Wish(str(requirement.specifier), hashes, source))
        return []

    def _options(
        self, words: list[str], path: str, source: str, *, constraints: bool
    ) -> Iterator[tuple[str, bool]]:
        waiting = list(words)
        while waiting:
            option, value = _split_option(waiting.pop(0))
            if option in _WITHOUT_VALUE:
                continue
            if option not in _OTHER_FILES and option not in _EDITABLE | _WITH_VALUE:
                raise ValueError(f"{option!r} is no option of such a file")
            if value is None:
                if not waiting:
                    raise ValueError(f"option {option!r} has no value")
                value = waiting.pop(0)
            if option in _EDITABLE:
                self._leave_out(source, value, "it names a folder or a checkout")
            elif option in _OTHER_FILES:
                if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", value):
                    raise ValueError(f"{value!r} is a URL; such files are read from disk")
                if "\0" in value:
                    raise ValueError(f"{value!r} is no path")
                beside = os.path.join(os.path.dirname(path), value)
                yield beside, constraints or _OTHER_FILES[option]

    def _leave_out(self, source: str, text: str, reason: str) -> None:
        self.wanted.unfit.append(Unfit(source, text, reason))


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield the lines that say something, without comments, with the number at which each begins. A
    backslash at its end joins a line with the next.
    """
    begun = 0
    parts: list[str] = []
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), 1):
        comment = line.lstrip().startswith("#")
        if not parts:
            begun = number
        if line.endswith("\\") and not comment:
            parts.append(line[:-1])
            continue
        # A comment ends a joined line too.
        whole = "".join([*parts, f" {line}" if comment else line])
        parts = []
        whole = _COMMENT.sub("", whole).strip()
        if whole:
            yield begun, whole
    whole = _COMMENT.sub("", "".join(parts)).strip()
    if whole:
        yield begun, whole


def _split_option(word: str) -> tuple[str, str | None]:
    if word.startswith("--"):
        option, equals, value = word.partition("=")
        return option, value if equals else None
    return word[:2], word[2:].removeprefix("=") or None


def _hashes(words: list[str]) -> Iterator[str]:
    waiting = list(words)
    while waiting:
        option, value = _split_option(waiting.pop(0))
        if value is None and waiting:
            value = waiting.pop(0)
        if option in _OF_ONE:
            continue
        if option != "--hash" or value is None:
            raise ValueError(f"{option!r} is no option of a requirement")
        found = _HASH.fullmatch(value)
        if found is None or len(found[2]) != DIGESTS[found[1]]:
            raise ValueError(f"{value!r} is no hash of sha256, sha384 or sha512")
        yield value.lower()


# --- lock files -------------------------------------------------------------------------------


class _LockedFile(msgspec.Struct):
    hash: str | None = None
    hashes: dict[str, str] = {}


class _PylockPackage(msgspec.Struct):
    name: str
    version: str | None = None
    vcs: Any = None
    directory: Any = None
    archive: Any = None
    sdist: _LockedFile | None = None
    wheels: list[_LockedFile] = []


class _Pylock(msgspec.Struct):
    version: str = msgspec.field(name="lock-version")
    packages: list[_PylockPackage] = []


class _UvPackage(msgspec.Struct):
    name: str
    version: str | None = None
    source: dict[str, Any] = {}
    sdist: _LockedFile | None = None
    wheels: list[_LockedFile] = []


class _UvLock(msgspec.Struct):
    version: int
    package: list[_UvPackage] = []


class _PoetrySource(msgspec.Struct):
    type: str = ""


class _PoetryPackage(msgspec.Struct):
    name: str
    version: str
    files: list[_LockedFile] = []
    source: _PoetrySource = msgspec.field(default_factory=_PoetrySource)


class _PoetryMetadata(msgspec.Struct):
    files: dict[str, list[_LockedFile]] = {}


class _PoetryLock(msgspec.Struct):
    package: list[_PoetryPackage] = []
    metadata: _PoetryMetadata = msgspec.field(default_factory=_PoetryMetadata)


def _read_pylock(path: str, wanted: Wanted) -> None:
    lock = _toml(path, _Pylock)
    if lock.version.partition(".")[0] != "1":
        raise SettingsError(f"{path}: its lock-version is {lock.version!r}; 1.N is read")
    for package in lock.packages:
        if package.vcs or package.directory or package.archive:
            reason = "it is a checkout, a folder or an archive of its own"
            wanted.unfit.append(Unfit(path, package.name, reason))
            continue
        files = [*package.wheels, *([package.sdist] if package.sdist else [])]
        _lock(wanted, path, package.name, package.version, files)


def _read_uv_lock(path: str, wanted: Wanted) -> None:
    lock = _toml(path, _UvLock)
    if lock.version != 1:
        raise SettingsError(f"{path}: its version is {lock.version}; 1 is read")
    for package in lock.package:
        if "registry" in package.source:
            files = [*package.wheels, *([package.sdist] if package.sdist else [])]
            _lock(wanted, path, package.name, package.version, files)
        elif not {"virtual", "editable"} & package.source.keys():
            kinds = ", ".join(package.source) or "no source"
            wanted.unfit.append(Unfit(path, package.name, f"it comes from no index ({kinds})"))


def _read_poetry_lock(path: str, wanted: Wanted) -> None:
    lock = _toml(path, _PoetryLock)
    for package in lock.package:
        if package.source.type in {"git", "url", "file", "directory"}:
            reason = f"it comes from no index ({package.source.type})"
            wanted.unfit.append(Unfit(path, package.name, reason))
        else:
            files = package.files or lock.metadata.files.get(package.name, [])
            _lock(wanted, path, package.name, package.version, files)


def _lock(
    wanted: Wanted, path: str, name: str, version: str | None, files: list[_LockedFile]
) -> None:
    problem = problem_with_name(name)
    if problem is not None:
        raise SettingsError(f"{path}: the name {name!r} {problem}")
    if version is not None and read_version(version) is None:
        raise SettingsError(f"{path}: {name}: {version!r} is no version")
    hashes = [f"{kind}:{value}" for file in files for kind, value in file.hashes.items()]
    hashes += [file.hash for file in files if file.hash is not None]
    known = frozenset(each.lower() for each in hashes if _HASH.fullmatch(each))
    specifier = "" if version is None else f"=={read_version(version)}"
    _add(wanted.projects, name, Wish(specifier, known, path))


def _toml(path: str, kind: type[Any]) -> Any:
    try:
        return msgspec.convert(tomllib.loads(_text(path)), kind)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, RecursionError) as error:
        raise SettingsError(f"{path} cannot be read: {error}") from None


def _text(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return file.read().decode("utf-8-sig")
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{path} cannot be read: it is not UTF-8") from None
    except ValueError as error:
        raise SettingsError(f"{path!r} cannot be read: {error}") from None
