import bz2
import gzip
import lzma
import os
import random
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import lz4.frame
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from flowsync.errors import MetadataError, SettingsError
from flowsync.packages import unpacking
from flowsync.packages.unpacking import (
    LARGEST,
    RATIO,
    UNSUSPICIOUS,
    Packing,
    pack,
    packing_of,
    unpack,
)

PACKERS: dict[Packing, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".xz": lzma.compress,
    ".bz2": bz2.compress,
    ".zst": zstandard.ZstdCompressor().compress,
    ".lz4": lz4.frame.compress,
}

PACKINGS = list(PACKERS)
TEXT = b"Package: alpha\nVersion: 1.0\n\n" * 50
needs_proc = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="needs Linux, which tells the peak of memory"
)
PEAK = 150 << 20
MIB = 1 << 20


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def unpacked(data: bytes, packing: Packing, *, limit: int | None = None, size: int = 999) -> bytes:
    return b"".join(unpack(pieces(data, size), packing, limit=limit))


@pytest.mark.parametrize(
    ("path", "packing"),
    [
        ("main/binary-amd64/Packages.xz", ".xz"),
        ("Contents-amd64.gz", ".gz"),
        ("Packages", ""),
        ("Packages.diff/Index", ""),
        ("by-hash/SHA256/abc", ""),
        ("icons-64x64.tar.gz", ".gz"),
    ],
)
def test_the_end_of_a_path_tells_the_packing(path: str, packing: str) -> None:
    assert packing_of(path) == packing


@pytest.mark.parametrize("packing", PACKINGS)
@settings(deadline=None)
@given(data=st.binary(max_size=2000), size=st.integers(1, 300))
def test_what_was_packed_comes_out_however_it_arrives(
    packing: Packing, data: bytes, size: int
) -> None:
    assert unpacked(PACKERS[packing](data), packing, limit=len(data), size=size) == data


@pytest.mark.parametrize("packing", PACKINGS)
def test_streams_one_behind_the_other_are_one(packing: Packing) -> None:
    pack_it = PACKERS[packing]
    packed = pack_it(TEXT) + pack_it(b"") + pack_it(b"end")

    for size in (1, 7, len(packed)):
        assert unpacked(packed, packing, size=size) == TEXT + b"end"


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("garbage", [b"x", b"Package: evil\n", b"\0\0\0\1"])
def test_what_stands_behind_a_stream_is_refused(packing: Packing, garbage: bytes) -> None:
    with pytest.raises(MetadataError):
        unpacked(PACKERS[packing](TEXT) + garbage, packing)


@pytest.mark.parametrize("packing", PACKINGS)
def test_a_stream_that_ends_too_early_is_refused(packing: Packing) -> None:
    packed = PACKERS[packing](os.urandom(200))

    for end in (0, 1, len(packed) // 2, len(packed) - 1):
        with pytest.raises(MetadataError):
            unpacked(packed[:end], packing)


def test_xz_may_pad_its_streams() -> None:
    assert unpacked(lzma.compress(TEXT) + b"\0" * 8, ".xz") == TEXT


@pytest.mark.parametrize("packing", [*PACKINGS, ""])
def test_more_than_what_is_listed_is_refused(packing: Packing) -> None:
    packed = PACKERS[packing](TEXT) if packing else TEXT

    assert unpacked(packed, packing, limit=len(TEXT)) == TEXT
    with pytest.raises(MetadataError, match=str(len(TEXT) - 1)):
        unpacked(packed, packing, limit=len(TEXT) - 1)


@pytest.mark.parametrize("packing", PACKINGS)
@settings(deadline=None)
@given(at=st.integers(0), change=st.integers(1, 255))
def test_a_stream_with_another_byte_is_refused_or_bounded(
    packing: Packing, at: int, change: int
) -> None:
    packed = bytearray(PACKERS[packing](TEXT))
    packed[at % len(packed)] ^= change

    with suppress(MetadataError):
        assert len(unpacked(bytes(packed), packing, limit=len(TEXT))) <= len(TEXT)


@pytest.mark.parametrize("packing", PACKINGS)
@settings(deadline=None)
@given(data=st.binary(max_size=300))
def test_any_bytes_are_unpacked_or_refused(packing: Packing, data: bytes) -> None:
    header = PACKERS[packing](b"")[:4]

    for each in (data, header + data):
        with suppress(MetadataError):
            unpacked(each, packing)


@pytest.mark.parametrize("packing", [".gz", ".xz", ""])
def test_what_is_packed_here_can_be_unpacked_and_is_the_same_each_time(packing: Packing) -> None:
    data = random.Random(3).randbytes(100_000) + TEXT * 100
    one = b"".join(pack(pieces(data, 30_000), packing))

    assert unpacked(one, packing) == data
    assert b"".join(pack(pieces(data, 30_000), packing)) == one
    assert b"".join(pack([], packing)) == b"".join(pack([b""], packing))


def test_gzip_says_no_name_and_no_time() -> None:
    packed = b"".join(pack([TEXT], ".gz"))

    flags, moment = packed[3], packed[4:8]
    assert (flags, moment) == (0, b"\0\0\0\0")


def test_nothing_else_is_packed() -> None:
    with pytest.raises(ValueError, match="zst"):
        list(pack([TEXT], ".zst"))


@pytest.mark.parametrize(("packing", "library"), [(".zst", "zstandard"), (".lz4", "lz4.frame")])
def test_a_library_that_is_missing_is_named_with_its_extra(
    packing: Packing, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)

    with pytest.raises(SettingsError, match=r"flowsync\[packages\]"):
        list(unpack([PACKERS[packing](TEXT)], packing))


# --- bombs ------------------------------------------------------------------------------------


def test_without_a_listed_size_little_may_become_much_only_up_to_a_bound() -> None:
    def zeros(mib: int) -> bytes:
        return gzip.compress(bytes(mib * MIB), 9)

    assert len(unpacked(zeros(UNSUSPICIOUS // MIB), ".gz")) == UNSUSPICIOUS
    with pytest.raises(MetadataError, match="which is refused"):
        unpacked(zeros(UNSUSPICIOUS // MIB + 1), ".gz")


def test_what_is_packed_well_is_no_bomb() -> None:
    line = "Filler: {} and words that are the same in each paragraph\n\n"
    chance = random.Random(5)
    text = "".join(line.format(chance.random()) for _ in range(400_000)).encode()
    packed = lzma.compress(text, preset=0)

    assert len(text) > UNSUSPICIOUS
    assert unpacked(packed, ".xz", size=65536) == text
    assert len(text) < RATIO * len(packed)


BOMB = """
import re, sys
from flowsync.errors import MetadataError
from flowsync.packages.unpacking import packing_of, unpack

path, limit = sys.argv[1], int(sys.argv[2]) or None
size = largest = 0
with open(path, "rb") as file:
    try:
        for piece in unpack(iter(lambda: file.read(65536), b""), packing_of(path), limit=limit):
            size += len(piece)
            largest = max(largest, len(piece))
        said = "taken"
    except MetadataError:
        said = "refused"
with open("/proc/self/status") as status:
    peak = int(re.search(r"VmHWM:\\s*([0-9]+)", status.read())[1]) * 1024
print(said, size, largest, peak)
"""


def run_bomb(path: Path, limit: int = 0) -> tuple[str, int, int, int]:
    """Unpack in a program of its own: how it ended, bytes, the largest piece, and the peak."""
    said = subprocess.run(
        [sys.executable, "-c", BOMB, str(path), str(limit)],
        capture_output=True,
        check=True,
        text=True,
    ).stdout.split()
    return said[0], int(said[1]), int(said[2]), int(said[3])


def zeros(mib: int) -> Iterator[bytes]:
    return (bytes(MIB) for _ in range(mib))


def gz(chunks: Iterator[bytes]) -> bytes:
    packer = zlib.compressobj(wbits=31)
    return b"".join([*map(packer.compress, chunks), packer.flush()])


def xz(chunks: Iterator[bytes], size: int = 64 * MIB) -> bytes:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": size}]
    packer = lzma.LZMACompressor(filters=filters)
    return b"".join([*map(packer.compress, chunks), packer.flush()])


def zst(chunks: Iterator[bytes], window: int = 27) -> bytes:
    made = zstandard.ZstdCompressionParameters.from_level(1, window_log=window)
    packer = zstandard.ZstdCompressor(compression_params=made).compressobj()
    return b"".join([*map(packer.compress, chunks), packer.flush()])


def lz4_(chunks: Iterator[bytes]) -> bytes:
    packer = lz4.frame.LZ4FrameCompressor(block_size=lz4.frame.BLOCKSIZE_MAX4MB)
    return b"".join([packer.begin(), *map(packer.compress, chunks), packer.flush()])


BOMBS: dict[Packing, Callable[[Iterator[bytes]], bytes]] = {
    ".gz": gz,
    ".xz": xz,
    ".bz2": lambda chunks: b"".join(map(bz2.compress, chunks)),
    ".zst": zst,
    ".lz4": lz4_,
}


@pytest.fixture(params=PACKINGS)
def bomb(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """300 MiB of zeros, packed."""
    path = tmp_path / f"bomb{request.param}"
    path.write_bytes(BOMBS[request.param](zeros(300)))
    return path


@needs_proc
def test_a_bomb_is_stopped_at_a_bounded_peak(bomb: Path) -> None:
    for limit, most in ((20 * MIB, 20 * MIB), (0, max(UNSUSPICIOUS, RATIO * bomb.stat().st_size))):
        said, size, largest, peak = run_bomb(bomb, limit)

        assert said == "refused" or most > 300 * MIB
        assert size <= most
        assert largest <= 16 * MIB
        assert peak < PEAK, f"{peak >> 20} MiB"


@needs_proc
def test_what_is_listed_as_large_is_unpacked_at_a_bounded_peak(bomb: Path) -> None:
    said, size, _, peak = run_bomb(bomb, 300 * MIB)

    assert (said, size) == ("taken", 300 * MIB)
    assert peak < PEAK + 40 * MIB, f"{peak >> 20} MiB"


def test_an_xz_stream_that_needs_much_memory_is_refused() -> None:
    packed = xz(iter([TEXT]), size=1 << 30)

    with pytest.raises(MetadataError):
        unpacked(packed, ".xz")


def test_a_zstandard_frame_that_needs_much_memory_is_refused() -> None:
    packed = zst(iter([TEXT]), window=30)

    with pytest.raises(MetadataError):
        unpacked(packed, ".zst")


def test_a_bound_that_is_not_given_is_gibibytes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert LARGEST == 8 << 30
    monkeypatch.setattr(unpacking, "LARGEST", 1000)

    with pytest.raises(MetadataError, match="refused"):
        unpacked(PACKERS[".gz"](bytes(1001)), ".gz")
