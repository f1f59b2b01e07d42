"""Writes files that are made from versions into a folder, whole and, where wanted, packed. Blocks
the caller.
"""

import hashlib
import os
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

import msgspec

from flowsync.errors import DeclarationError
from flowsync.layout import GeneratedFiles, Headers, check_headers
from flowsync.model.recordable import problem_with_path

LEAST_PACKED: Final = 1024
"""Bytes below which packing is not worth the headers."""

_GZIP: Final = 31
"""Lets zlib write the frame of gzip, without a date, so that equal bytes are packed alike."""


class MadeFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file that was made: where it is, its size in bytes, its sha256, and what is sent with it.

    `packed` and `packed_size` are of the same as gzip, if there is that.
    """

    file: str
    size: int
    sha256: str
    content_type: str | None = None
    headers: Headers = {}
    status: int = 200
    packed: str | None = None
    packed_size: int = 0

    @property
    def room(self) -> int:
        """Bytes that it takes on disk."""
        return self.size + self.packed_size

    def remove(self) -> None:
        """Remove it from disk."""
        for path in (self.file, self.packed):
            if path is not None:
                with suppress(FileNotFoundError):
                    os.unlink(path)


class ScratchFile:
    """A file that is being made; see `NewFile`."""

    def __init__(self, path: str, *, compressed: bool = False) -> None:
        self.path = path
        self.size = 0
        self._hasher = hashlib.sha256()
        self._file = open(path, "wb")  # noqa: SIM115 - closed by `close`
        self._packer = zlib.compressobj(6, zlib.DEFLATED, _GZIP) if compressed else None
        self._packed = open(f"{path}.gz", "wb") if compressed else None  # noqa: SIM115

    @property
    def sha256(self) -> str:
        return self._hasher.hexdigest()

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self._hasher.update(data)
        self.size += len(data)
        if self._packer is not None and self._packed is not None:
            self._packed.write(self._packer.compress(data))

    def close(self) -> None:
        if self._packer is not None and self._packed is not None and not self._packed.closed:
            self._packed.write(self._packer.flush())
            self._packed.close()
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def discard(self) -> None:
        """Close it and remove it from disk."""
        self.close()
        for path in (self.path, f"{self.path}.gz"):
            with suppress(FileNotFoundError):
                os.unlink(path)

    def made(self, content_type: str | None, headers: Headers, status: int = 200) -> MadeFile:
        """Return what it came to, and keep it packed only where that saves something."""
        self.close()
        packed, packed_size = None, 0
        if self._packed is not None:
            packed, packed_size = f"{self.path}.gz", os.path.getsize(f"{self.path}.gz")
            if self.size < LEAST_PACKED or packed_size >= self.size:
                os.unlink(packed)
                packed, packed_size = None, 0
        return MadeFile(
            file=self.path,
            size=self.size,
            sha256=self.sha256,
            content_type=content_type,
            headers=headers,
            status=status,
            packed=packed,
            packed_size=packed_size,
        )


class ScratchFiles:
    """The files that `wanted` makes, in a folder; see `NewFiles`. `fresh` gives names of files."""

    def __init__(self, wanted: GeneratedFiles, fresh: Callable[[], str]) -> None:
        self._wanted = wanted
        self._fresh = fresh
        self._begun: dict[str, tuple[ScratchFile, str | None, Headers]] = {}

    def open(
        self,
        path: str,
        *,
        content_type: str | None = None,
        headers: Mapping[str, str] = {},
        compressed: bool = False,
    ) -> ScratchFile:
        problem = problem_with_path(path)
        if problem is None and not self._wanted.has(path):
            problem = "is none of the paths of these files"
        if problem is None and path in self._begun:
            problem = "was begun before"
        if problem is not None:
            raise DeclarationError(f"no file can be made at {path!r}: it {problem}")
        check_headers(headers, f"the file {path!r}")
        file = ScratchFile(self._fresh(), compressed=compressed)
        self._begun[path] = file, content_type, headers
        return file

    def made(self) -> dict[str, MadeFile]:
        """Return what all files came to."""
        return {
            path: file.made(content_type, headers)
            for path, (file, content_type, headers) in self._begun.items()
        }

    def discard(self) -> None:
        """Remove all files."""
        for file, _, _ in self._begun.values():
            file.discard()
