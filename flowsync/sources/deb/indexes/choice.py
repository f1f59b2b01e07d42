"""Which of a suite's indexes are taken, and in which packing each is read. Pure.

An index is told by its path below the suite: the component, then one of the folders of
https://wiki.debian.org/DebianRepository/Format. A suite without `dists` has its indexes at its
root. Components may have a prefix in the field `Components` that their paths lack.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Literal

import msgspec

from flowsync import MetadataError
from flowsync.packages.unpacking import packing_of
from flowsync.sources.deb.indexes.release import Listed, Release
from flowsync.sources.deb.options import DebOptions, IndexKind

Reads = Literal["packages", "sources", "checksums", ""]

PREFERENCE: Final = (".xz", ".zst", ".gz", ".bz2", ".lz4", "")
"""Packings in the order in which one of them is read."""

_FORMS: Final[tuple[tuple[str, IndexKind, Reads], ...]] = (
    (r"(?:(?P<component>.+)/)?binary-(?P<arch>[^/]+)/Packages", "packages", "packages"),
    (r"(?:(?P<component>.+)/)?binary-(?P<arch>[^/]+)/Release", "packages", ""),
    (r"(?:(?P<component>.+)/)?source/Sources", "sources", "sources"),
    (r"(?:(?P<component>.+)/)?source/Release", "sources", ""),
    (r"(?:(?P<component>.+)/)?i18n/.+", "translations", ""),
    (r"(?:(?P<component>.+)/)?dep11/Components-(?P<arch>.+)\.yml", "dep11", ""),
    (r"(?:(?P<component>.+)/)?dep11/.+", "dep11", ""),
    (r"(?:(?P<component>.+)/)?cnf/Commands-(?P<arch>[^/]+)", "cnf", ""),
    (r"(?:(?P<component>.+)/)?Contents-udeb-(?P<arch>[^/]+)", "udebs", ""),
    (r"(?:(?P<component>.+)/)?Contents-(?P<arch>[^/]+)", "contents", ""),
    (
        r"(?:(?P<component>.+)/)?debian-installer/binary-(?P<arch>[^/]+)/Packages",
        "udebs",
        "packages",
    ),
    (r"(?:(?P<component>.+)/)?debian-installer/binary-(?P<arch>[^/]+)/Release", "udebs", ""),
    (
        r"(?:(?P<component>.+)/)?installer-(?P<arch>[^/]+)/.+/SHA256SUMS",
        "installer",
        "checksums",
    ),
)
"""The longer ones of two that fit one path stand behind the others."""

_FLAT: Final[Mapping[str, tuple[IndexKind, Reads]]] = {
    "Packages": ("packages", "packages"),
    "Sources": ("sources", "sources"),
    "Contents": ("contents", ""),
}


class Index(msgspec.Struct, frozen=True):
    """An index in all packings that a suite lists of it, those that are read first standing
    first. `stem` is its path without a packing; `reads` says what it lists, if it is read.
    Component and architecture are those of its path, empty where that has none.
    """

    stem: str
    kind: IndexKind
    reads: Reads
    variants: tuple[Listed, ...]
    component: str = ""
    architecture: str = ""

    @property
    def folder(self) -> str:
        """The folder below which an installer's list has its paths, with a slash at its end."""
        return self.stem.rpartition("/")[0] + "/"


def is_flat(suite: str) -> bool:
    """Say whether a suite is a folder without `dists`."""
    return suite.endswith("/")


def folder_of(suite: str) -> str:
    """Return the folder of a suite below the archive's root, empty or with a slash at its end."""
    if not is_flat(suite):
        return f"dists/{suite}/"
    kept = [segment for segment in suite.split("/") if segment not in {"", "."}]
    return "".join(f"{segment}/" for segment in kept)


def chosen(suite: str, release: Release, options: DebOptions) -> list[Index]:
    """Return the indexes that are taken, in order of path. Raise `MetadataError` when the suite
    has not what was asked for.
    """
    stems: dict[str, list[Listed]] = {}
    for path, listed in release.listed.items():
        packing = packing_of(path)
        stems.setdefault(path.removesuffix(packing) if packing else path, []).append(listed)
    told = {stem: found for stem in stems if (found := _told(suite, stem)) is not None}
    components = {each.component for each in told.values() if each.component is not None}
    if not is_flat(suite):
        _check_components(release, options, components)
        _check_architectures(release, options, {each.arch for each in told.values()})
    return [
        Index(
            stem,
            told[stem].kind,
            told[stem].reads,
            tuple(sorted(stems[stem], key=_rank)),
            told[stem].component or "",
            told[stem].arch or "",
        )
        for stem in sorted(told)
        if _is_wanted(told[stem], options)
    ]


class _Told(msgspec.Struct, frozen=True):
    kind: IndexKind
    reads: Reads
    component: str | None
    arch: str | None


def _told(suite: str, stem: str) -> _Told | None:
    if is_flat(suite):
        found = _FLAT.get(stem)
        return None if found is None else _Told(*found, None, None)
    result = None
    for form, kind, reads in _FORMS:
        match = re.fullmatch(form, stem)
        if match is not None:
            groups = match.groupdict()
            result = _Told(kind, reads, groups["component"], groups.get("arch"))
    return result


def _is_wanted(told: _Told, options: DebOptions) -> bool:
    if told.kind not in options.indices:
        return False
    component = told.component
    if component is not None and options.components:
        wanted = any(_is_component(component, each) for each in options.components)
        if not wanted:
            return False
    if told.arch is None or not options.architectures:
        return True
    return told.arch == "all" or told.arch in options.architectures


def _is_component(path: str, wanted: str) -> bool:
    return path == wanted or wanted.endswith(f"/{path}") or path.endswith(f"/{wanted}")


def _check_components(release: Release, options: DebOptions, found: set[str]) -> None:
    known = sorted({*release.components, *found})
    for wanted in options.components:
        if not any(_is_component(each, wanted) for each in known):
            raise MetadataError(f"there is no component {wanted!r}; {_those(known)}")


def _check_architectures(release: Release, options: DebOptions, found: set[str | None]) -> None:
    known = sorted({*release.architectures, *(each for each in found if each)} - {"source"})
    for wanted in options.architectures:
        if wanted not in known:
            raise MetadataError(f"there is no architecture {wanted!r}; {_those(known)}")


def _those(known: Sequence[str]) -> str:
    return f"there are {', '.join(known[:20])}" if known else "there is none"


def _rank(listed: Listed) -> int:
    return PREFERENCE.index(packing_of(listed.path))


def names_of(folder: str, listed: Listed, folders: Mapping[str, str]) -> Iterator[str]:
    """Yield the paths of an index below the archive's root: its own, and those by its digests.
    `folders` are those of `by-hash` by algorithm, empty where a suite has none.
    """
    yield f"{folder}{listed.path}"
    place = listed.path.rpartition("/")[0]
    place = f"{folder}{place}/" if place else folder
    for algorithm, digest in listed.digests.items():
        if algorithm in folders:
            yield f"{place}by-hash/{folders[algorithm]}/{digest}"
