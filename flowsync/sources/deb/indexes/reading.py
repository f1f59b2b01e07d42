"""Reads indexes from disk, block by block. Blocks the caller, so it belongs in a thread.

1. `survey` unpacks an index to a plain file and reads all of it before anything is declared, so
   that what cannot be understood leaves nothing half-done.
2. It keeps 16 bytes for each file that is listed: a hash of its path, and one of path and digest.
   By these a path is found that is listed with two digests, also in two indexes.
"""

import hashlib
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from flowsync import MetadataError
from flowsync.packages.unpacking import packing_of, unpack
from flowsync.sources.deb.indexes.choice import Index, Reads
from flowsync.sources.deb.indexes.paragraphs import (
    ListedFile,
    Paragraph,
    checksums,
    packages,
    paragraphs,
    sources,
)

PIECE: Final = 64 * 1024
"""Bytes that are read at a time: some 50 paragraphs."""

LARGEST_LIST: Final = 4 << 20
"""Bytes of an installer's list."""

_SHARE: Final = 250_000
"""Hashes that are looked at as Python's integers at a time."""


class Survey:
    """The files that the indexes of a sync list."""

    def __init__(self) -> None:
        self.count = 0
        self._paths = array("q")
        self._files = array("q")

    def add(self, files: list[ListedFile]) -> None:
        """Look at files."""
        self.count += len(files)
        self._paths.extend([hash(file.path) for file in files])
        self._files.extend([hash((file.path, _digest(file))) for file in files])

    def join(self, other: "Survey") -> None:
        """Look at what another survey saw."""
        self.count += other.count
        self._paths.extend(other._paths)
        self._files.extend(other._files)

    def contradicting(self) -> frozenset[int]:
        """Return the hashes of paths that are listed with two digests. Two paths may have one
        hash, so who asks compares.
        """
        found: set[int] = set()
        shares = 1 + len(self._paths) // _SHARE
        for share in range(shares):
            seen: dict[int, int] = {}
            for path, file in zip(self._paths, self._files, strict=True):
                if path % shares == share and seen.setdefault(path, file) != file:
                    found.add(path)
        return frozenset(found)


class Contradictions:
    """Tells of a file whether another one at its path came before; made of a `Survey`."""

    def __init__(self, paths: frozenset[int]) -> None:
        self._paths = paths
        self._first: dict[str, tuple[str, str]] = {}

    def first(self, file: ListedFile, where: str) -> str | None:
        """Return where another file was listed at the path of this one, if there was one."""
        if not self._paths or hash(file.path) not in self._paths:
            return None
        digest = _digest(file)
        before, place = self._first.setdefault(file.path, (digest, where))
        return None if before == digest else place


def survey(path: str, packed_as: str, plain: str, index: Index, limit: int | None) -> Survey:
    """Unpack the index at `path`, whose name upstream is `packed_as`, to `plain`, and read it.

    `limit` is the size that it must have, unpacked. Raise `MetadataError` with number of a
    paragraph.
    """
    found = Survey()
    with open(path, "rb") as source, open(plain, "wb") as target:
        pieces = iter(lambda: source.read(PIECE), b"")
        target.writelines(unpack(pieces, packing_of(packed_as), limit=limit))
        size = target.tell()
    if limit is not None and size != limit:
        raise MetadataError(f"it unpacks to {size} bytes, {limit} are listed")
    for _, files in listed_files(plain, index.reads):
        found.add(files)
    return found


Keeps = Callable[[Paragraph], bool]


def listed_files(
    plain: str, reads: Reads, keeps: Keeps | None = None
) -> Iterator[tuple[list[Paragraph], list[ListedFile]]]:
    """Yield the paragraphs of a plain index, some at a time, with the files that they list; only
    those that `keeps` says.
    """
    if reads == "checksums":
        yield [], checksums(_small(plain))
        return
    read = packages if reads == "packages" else sources
    with open(plain, "rb", buffering=0) as index:
        for some in paragraphs(iter(lambda: index.read(PIECE), b"")):
            kept = some if keeps is None else [each for each in some if keeps(each)]
            yield kept, read(kept)


def _small(path: str) -> bytes:
    if Path(path).stat().st_size > LARGEST_LIST:
        raise MetadataError(f"it has more than {LARGEST_LIST} bytes")
    return Path(path).read_bytes()


def sha256_of(data: bytes) -> str:
    """Return the sha256 of bytes in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def _digest(file: ListedFile) -> str:
    return file.digests.get("sha256") or file.digests["sha512"]
