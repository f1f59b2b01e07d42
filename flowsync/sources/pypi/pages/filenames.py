"""What the name of a distribution says: its kind, project, version and tags.

Names that could lead out of a folder, or that no tool writes, are refused before anything is made
of them. Wheels and source archives are read as `packaging` reads them; that is loaded when the
first version is read.
"""

import re
from functools import lru_cache
from typing import Any, Final, Literal

import msgspec

from flowsync.sources.pypi.pages.names import (
    normalized,
    problem_with_filename,
    problem_with_version,
)

FileKind = Literal["wheel", "sdist", "egg", "exe", "msi", "rpm"]


class FileName(msgspec.Struct, frozen=True, gc=False):
    """The parts of a filename. `version` is spelled in the one way that its standard says; `tags`
    are those of a wheel as it has them, of the others what they tell in the same form.
    """

    project: str
    version: str
    kind: FileKind
    tags: str = ""


class FilenameError(ValueError):
    """A filename cannot be used. `rule` names what is wrong: filename, project or version."""

    def __init__(self, rule: str, reason: str) -> None:
        super().__init__(reason)
        self.rule = rule


_ENDINGS: Final[tuple[tuple[str, FileKind], ...]] = (
    (".whl", "wheel"),
    (".tar.gz", "sdist"),
    (".zip", "sdist"),
    (".tar.bz2", "sdist"),
    (".tar.xz", "sdist"),
    (".tar.Z", "sdist"),
    (".tgz", "sdist"),
    (".tar", "sdist"),
    (".egg", "egg"),
    (".exe", "exe"),
    (".msi", "msi"),
    (".rpm", "rpm"),
)
_TAG: Final = re.compile(
    r"(?:[A-Za-z_][A-Za-z0-9_]*)(?:\.[A-Za-z_][A-Za-z0-9_]*)*"
    r"-[A-Za-z0-9_+!]+(?:\.[A-Za-z0-9_+!]+)*"
    r"-[A-Za-z0-9_+!]+(?:\.[A-Za-z0-9_+!]+)*"
)
_WHEEL_PROJECT: Final = re.compile(r"[A-Za-z0-9_.]+")
_EGG: Final = re.compile(r"(?P<version>[^-]+)(?:-py(?P<python>\d+\.\d+)(?:-(?P<platform>.+))?)?")
_INSTALLER: Final = re.compile(
    r"(?P<version>.+?)\.(?P<platform>win32|win-[a-z0-9]+)(?:-py(?P<python>\d+\.\d+))?"
)
_RPM: Final = re.compile(r"(?P<version>[^-]+)-[^-]+\.(?P<platform>[a-z0-9_]+)")


def read_filename(filename: str, project: str) -> FileName:
    """Return what the name of a file of `project`, whose name is normalized, says.

    Raise `FilenameError` when it may not be used, belongs to another project or says no version.
    """
    problem = problem_with_filename(filename)
    if problem is not None:
        raise FilenameError("filename", f"the name {problem}")
    for ending, kind in _ENDINGS:
        if filename.endswith(ending):
            stem = filename[: -len(ending)]
            return _wheel(stem, project) if kind == "wheel" else _other(stem, project, kind)
    raise FilenameError("filename", "its ending is that of no distribution")


def _wheel(stem: str, project: str) -> FileName:
    parts = stem.split("-")
    if len(parts) not in (5, 6):
        raise FilenameError("filename", "the name of a wheel has five or six parts")
    name, version = parts[:2]
    if "__" in name or not _WHEEL_PROJECT.fullmatch(name):
        raise FilenameError("filename", "the name of its project is not that of a wheel's")
    if len(parts) == 6 and not parts[2][:1].isdigit():
        raise FilenameError("filename", "its build number does not begin with a digit")
    tags = "-".join(parts[-3:])
    if not _TAG.fullmatch(tags):
        raise FilenameError("filename", f"{tags!r} are no tags of a wheel")
    if name != project and normalized(name) != project:
        raise FilenameError("project", f"it belongs to {normalized(name)!r}, not to {project!r}")
    return FileName(project, _checked_version(version), "wheel", tags)


def _other(stem: str, project: str, kind: FileKind) -> FileName:
    rest = _behind_project(stem, project)
    pattern = {"egg": _EGG, "exe": _INSTALLER, "msi": _INSTALLER, "rpm": _RPM}.get(kind)
    if pattern is None:
        return FileName(project, _checked_version(rest), kind)
    found = pattern.fullmatch(rest)
    if found is None:
        raise FilenameError("filename", f"the name is not that of a file of kind {kind!r}")
    parts: dict[str, Any] = found.groupdict()
    python = f"py{(parts.get('python') or '').replace('.', '')}"
    platform = re.sub(r"[-.]", "_", parts["platform"] or "any")
    tags = f"{python}-none-{'any' if platform == 'noarch' else platform}"
    return FileName(project, _checked_version(parts["version"]), kind, tags)


def _behind_project(stem: str, project: str) -> str:
    """Return what stands behind the project's name, which may be spelled in any way, and a dash."""
    found = _spellings(project).match(stem)
    if found is None:
        raise FilenameError("project", f"it does not belong to {project!r}")
    return stem[found.end() :]


@lru_cache(maxsize=256)
def _spellings(project: str) -> re.Pattern[str]:
    """Return what matches a project's name in every spelling, with a dash behind it."""
    name = "[-_.]+".join(map(re.escape, project.split("-")))
    return re.compile(f"{name}-", re.IGNORECASE | re.ASCII)


def _checked_version(text: str) -> str:
    version = read_version(text)
    if version is None:
        raise FilenameError("version", f"{text!r} is no version")
    return version


@lru_cache(maxsize=8192)
def read_version(text: str) -> str | None:
    """Return the one spelling of a version, or `None` when the text is none or is too long."""
    version = version_of(text)
    if version is None:
        return None
    spelled = str(version)
    return spelled if problem_with_version(spelled) is None else None


@lru_cache(maxsize=8192)
def version_of(text: str) -> Any:
    """Return a version of `packaging` that can be compared, or `None` when the text is none."""
    from packaging.version import InvalidVersion, Version  # noqa: PLC0415 - see the module's words

    try:
        return Version(text)
    except (InvalidVersion, ValueError):
        return None
