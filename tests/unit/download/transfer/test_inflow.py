"""Bytes on their way into the sink."""

import gzip

import pytest

from flowsync.download.transfer.attempt import Tally
from flowsync.download.transfer.inflow import Inflow
from flowsync.download.transfer.spool import Spool
from flowsync.errors import BrokenBodyError, SizeMismatchError
from flowsync.model.remote import FetchRequest, Remote

BODY = b"".join(number.to_bytes(4, "big") for number in range(200_000))


async def unpack(packed: bytes, step: int, size: int | None = None) -> bytes:
    remote = Remote(name="r", url="http://host/")
    request = FetchRequest(url="http://host/a?t=secret", remote=remote, size=size)
    sink = Spool("/nowhere", 1 << 30)
    inflow = Inflow(request, sink, Tally(request), ["gzip"])
    for start in range(0, len(packed), step):
        await inflow.take(packed[start : start + step])
    inflow.end()
    await sink.finish()
    return sink.body or b""


@pytest.mark.parametrize("step", [1, 10, 1 << 20])
async def test_small_body_is_unpacked_however_it_is_cut(step: int) -> None:
    assert await unpack(gzip.compress(b"body"), step) == b"body"


async def test_large_body_is_unpacked() -> None:
    assert await unpack(gzip.compress(BODY), 65_536, size=len(BODY)) == BODY


async def test_members_are_unpacked_one_after_another() -> None:
    packed = gzip.compress(b"first ") + gzip.compress(b"") + gzip.compress(b"second")

    assert await unpack(packed, 7) == b"first second"


async def test_no_bytes_at_all_are_an_empty_body() -> None:
    assert await unpack(b"", 1) == b""


@pytest.mark.parametrize("cut", [1, 9, 12, -1, -8])
async def test_incomplete_body_is_broken(cut: int) -> None:
    with pytest.raises(BrokenBodyError, match="incomplete") as broken:
        await unpack(gzip.compress(b"body")[:cut], 100)

    assert "secret" not in str(broken.value)


@pytest.mark.parametrize("begin", [b"", gzip.compress(b"body", mtime=0)], ids=["first", "next"])
async def test_what_is_not_gzip_is_broken(begin: bytes) -> None:
    with pytest.raises(BrokenBodyError, match="damaged"):
        await unpack(begin + b"not gzip at all", 100)


async def test_flipped_bit_is_found_by_the_checksum() -> None:
    packed = bytearray(gzip.compress(BODY))
    packed[-6] ^= 1

    with pytest.raises(BrokenBodyError, match="damaged"):
        await unpack(bytes(packed), 65_536)


async def test_size_is_that_of_the_unpacked_body() -> None:
    with pytest.raises(SizeMismatchError, match="size is 4 bytes, expected 5"):
        await unpack(gzip.compress(b"body"), 100, size=5)
