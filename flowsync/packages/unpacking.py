"""Packings of package indexes: gzip, xz, bzip2, Zstandard and LZ4. Pure: pieces in, pieces out.

1. What is unpacked comes in pieces of bounded size, however much a piece of input holds.
2. It is never more than the bound that is given, or, without one, than `LARGEST` and two hundred
   times what was packed, once that is more than `UNSUSPICIOUS`.
3. Several packed streams one behind the other are one, as the tools have it. What cannot be
   unpacked, ends too early or has something else behind it raises `MetadataError`.
4. What is packed is the same each time: no name, no time.
"""

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, Literal, Protocol

from flowsync.errors import MetadataError, SettingsError

Packing = Literal["", ".gz", ".xz", ".bz2", ".zst", ".lz4"]

PIECE: Final = 64 * 1024
"""Bytes that come out at a time at most."""

LARGEST: Final = 8 << 30
"""Bytes that anything may unpack to of which no size is known."""

UNSUSPICIOUS: Final = 16 << 20
"""Bytes that may come of anything."""

RATIO: Final = 200
"""How often as much, of more than that, may come of what was packed."""

WINDOW: Final = 128 << 20
"""Bytes of memory that a stream may ask for: those of xz ask for 64 MiB at most in practice."""


class Unpacker(Protocol):
    """What the decompressors of the library have in common. They stop at the end of a stream."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    @property
    def needs_input(self) -> bool: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


def packing_of(path: str) -> Packing:
    """Return the packing that the end of a path tells; empty for none."""
    for packing in _UNPACKERS:
        if path.endswith(packing):
            return packing
    return ""


def unpack(
    chunks: Iterable[bytes], packing: Packing, *, limit: int | None = None
) -> Iterator[bytes]:
    """Yield what the chunks hold, unpacked, in pieces.

    `limit` is the size (bytes) that must not be exceeded. Raise `MetadataError` when it is, and for
    what cannot be unpacked; `SettingsError` when the library for a packing is missing.
    """
    if not packing:
        yield from _bounded(chunks, limit)
        return
    make = _UNPACKERS[packing]
    packed = unpacked = 0
    unpacker: Unpacker | None = None
    began = False
    for chunk in chunks:
        packed += len(chunk)
        rest = chunk
        while rest or (unpacker is not None and not unpacker.needs_input):
            if unpacker is None:
                if began and packing == ".xz" and not rest.strip(b"\0"):
                    break  # what xz pads its streams with
                unpacker, began = make(), True
            piece = _next_piece(unpacker, rest, packing)
            rest = b""
            unpacked += len(piece)
            _check_amount(unpacked, packed, limit)
            if piece:
                yield piece
            if unpacker.eof:
                rest, unpacker = unpacker.unused_data, None
    if unpacker is not None or not began:
        raise MetadataError(f"the {packing} stream ends too early")


def pack(data: Iterable[bytes], packing: Packing) -> Iterator[bytes]:
    """Yield the data packed with gzip or xz, or as it is; the same each time."""
    if not packing:
        yield from data
    elif packing == ".gz":
        yield from _gzipped(data)
    elif packing == ".xz":
        packer = lzma.LZMACompressor(preset=0)
        for piece in data:
            yield packer.compress(piece)
        yield packer.flush()
    else:
        raise ValueError(f"nothing is packed as {packing}")


def _gzipped(data: Iterable[bytes]) -> Iterator[bytes]:
    written = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=written, mtime=0) as packer:
        for piece in data:
            packer.write(piece)
            yield written.getvalue()
            written.seek(0)
            written.truncate()
    yield written.getvalue()


def _bounded(chunks: Iterable[bytes], limit: int | None) -> Iterator[bytes]:
    size = 0
    for chunk in chunks:
        size += len(chunk)
        if limit is not None and size > limit:
            raise MetadataError(f"it is longer than the {limit} bytes that are listed")
        yield chunk


def _next_piece(unpacker: Unpacker, data: bytes, packing: Packing) -> bytes:
    try:
        return unpacker.decompress(data, PIECE)
    except (OSError, EOFError, ValueError, RuntimeError, zlib.error, lzma.LZMAError) as error:
        raise MetadataError(f"it cannot be unpacked as {packing}: {error}") from None


def _check_amount(unpacked: int, packed: int, limit: int | None) -> None:
    if limit is not None:
        if unpacked > limit:
            raise MetadataError(f"it unpacks to more than the {limit} bytes that are listed")
    elif unpacked > LARGEST or unpacked > max(UNSUSPICIOUS, RATIO * packed):
        raise MetadataError(
            f"it unpacks to more than {unpacked} bytes of {packed}, which is refused"
        )


class _Gzip:
    """zlib's decompressor for gzip, with the interface of the others."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, max_length)


class _Stepwise:
    """A decompressor without a bound on its output, fed with so little at a time that one is kept:
    a block of Zstandard, which has 128 KiB at most, takes four bytes at least.
    """

    STEP: Final = 512

    def __init__(self, inner: Any, error: type[Exception]) -> None:
        self._inner = inner
        self._error = error
        self._rest = b""

    @property
    def eof(self) -> bool:
        return bool(self._inner.eof)

    @property
    def unused_data(self) -> bytes:
        return bytes(self._inner.unused_data or b"") + self._rest

    @property
    def needs_input(self) -> bool:
        return not self._rest

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        data = self._rest + data
        self._rest = data[self.STEP :]
        try:
            return bytes(self._inner.decompress(data[: self.STEP]))
        except self._error as error:
            raise ValueError(str(error)) from None


def _zstandard() -> Unpacker:
    try:
        import zstandard  # noqa: PLC0415 - few indexes need it
    except ImportError:
        raise _missing(".zst", "zstandard") from None
    made = zstandard.ZstdDecompressor(max_window_size=WINDOW)
    return _Stepwise(made.decompressobj(read_across_frames=False), zstandard.ZstdError)


def _lz4() -> Unpacker:
    try:
        from lz4.frame import LZ4FrameDecompressor  # noqa: PLC0415 - few indexes need it
    except ImportError:
        raise _missing(".lz4", "lz4") from None
    made: Unpacker = LZ4FrameDecompressor()
    return made


def _missing(packing: str, library: str) -> SettingsError:
    return SettingsError(
        f"unpacking {packing} needs {library}, which is not installed; install flowsync[packages]"
    )


_UNPACKERS: Final[dict[Packing, Callable[[], Unpacker]]] = {
    ".gz": _Gzip,
    ".xz": lambda: lzma.LZMADecompressor(memlimit=WINDOW),
    ".bz2": bz2.BZ2Decompressor,
    ".zst": _zstandard,
    ".lz4": _lz4,
}
