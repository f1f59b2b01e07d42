"""Bodies wait in memory or in a file, and nothing is left of those that nobody wants."""

import asyncio
import errno
import hashlib
import os
import resource
import stat
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any, TypeVar

import pytest
from blake3 import blake3

from flowsync.download.transfer.spool import BLOCK, Spool, fresh_path, store_error
from flowsync.errors import StoreError, StoreFullError, StoreUnwritableError

T = TypeVar("T")


async def test_small_body_stays_in_memory(tmp_path: Path) -> None:
    spool = Spool(str(tmp_path), 10)

    await spool.write(b"01234")
    await spool.write(b"56789")
    await spool.finish()

    assert (spool.body, spool.path, spool.size) == (b"0123456789", None, 10)
    assert list(tmp_path.iterdir()) == []


async def test_body_over_the_limit_goes_to_a_private_file(tmp_path: Path) -> None:
    spool = Spool(str(tmp_path), 10)

    await spool.write(b"01234")
    await spool.write(b"567890")
    await spool.finish()

    assert (spool.body, spool.size) == (None, 11)
    assert spool.path is not None
    assert Path(spool.path).read_bytes() == b"01234567890"
    assert stat.S_IMODE(os.stat(spool.path).st_mode) == 0o600


async def test_large_body_arrives_whole_and_in_order(tmp_path: Path) -> None:
    spool = Spool(str(tmp_path), 4096)
    chunk = bytes(range(256)) * 400

    for _ in range(50):
        await spool.write(chunk)
    await spool.finish()

    assert spool.path is not None
    assert Path(spool.path).read_bytes() == chunk * 50


async def test_empty_body_is_legal_in_memory_and_as_a_file(tmp_path: Path) -> None:
    held, filed = Spool(str(tmp_path), 10), Spool(str(tmp_path), 0)

    await held.finish()
    await filed.finish()

    assert (held.body, held.path) == (b"", None)
    assert filed.body is None
    assert filed.path is not None
    assert Path(filed.path).read_bytes() == b""


@pytest.mark.parametrize("limit", [0, 100])
async def test_digests_are_those_of_the_body(tmp_path: Path, limit: int) -> None:
    spool = Spool(str(tmp_path), limit, ("sha256", "md5", "blake3"))

    await spool.write(b"first ")
    await spool.write(b"second")
    await spool.finish()

    assert spool.digests == {
        "sha256": hashlib.sha256(b"first second").hexdigest(),
        "md5": hashlib.md5(b"first second").hexdigest(),
        "blake3": blake3(b"first second").hexdigest(),
    }


@pytest.mark.parametrize("limit", [0, 4, 100])
async def test_restart_forgets_everything_also_after_the_end(tmp_path: Path, limit: int) -> None:
    spool = Spool(str(tmp_path), limit, ("sha256",))
    await spool.write(b"wrong bytes")
    await spool.finish()

    await spool.restart()
    await spool.write(b"right")
    await spool.finish()

    assert spool.size == 5
    assert spool.digests == {"sha256": hashlib.sha256(b"right").hexdigest()}
    kept = spool.body if spool.path is None else Path(spool.path).read_bytes()
    assert kept == b"right"
    assert len(list(tmp_path.iterdir())) == (spool.path is not None)


async def test_discard_removes_the_file_and_may_be_repeated(tmp_path: Path) -> None:
    spool = Spool(str(tmp_path), 0)
    await spool.write(bytes(2 * BLOCK))
    await spool.write(b"more")

    await spool.discard()
    await spool.discard()

    assert list(tmp_path.iterdir()) == []


async def test_discard_during_a_write_leaves_nothing(tmp_path: Path) -> None:
    """The only thread is busy elsewhere while the spool is written, its user cancelled, and it is
    discarded.
    """
    spool = Spool(str(tmp_path), 0)
    busy = Event()
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(1))
    waiting = loop.run_in_executor(None, busy.wait)
    await spool.write(bytes(BLOCK))

    writer = asyncio.create_task(spool.write(bytes(BLOCK)))
    await asyncio.sleep(0)
    writer.cancel()
    await asyncio.wait([writer])
    discarding = asyncio.create_task(spool.discard())
    await asyncio.sleep(0)
    busy.set()
    await discarding
    await waiting

    assert writer.cancelled()
    assert list(tmp_path.iterdir()) == []


async def test_cancelled_discard_still_removes_the_file(tmp_path: Path) -> None:
    spool = Spool(str(tmp_path), 0)
    await spool.write(b"body")
    await spool.finish()
    assert len(list(tmp_path.iterdir())) == 1

    discarding = asyncio.create_task(spool.discard())
    await asyncio.sleep(0)
    discarding.cancel()
    await asyncio.wait([discarding])
    await asyncio.get_running_loop().shutdown_default_executor()

    assert discarding.cancelled()
    assert list(tmp_path.iterdir()) == []


async def test_kept_file_has_the_block_whose_write_had_not_begun(tmp_path: Path) -> None:
    """A download that broke off left nothing for the next run when the thread that closed the file
    was faster than the one that writes.
    """
    threads = FirstHeld()
    asyncio.get_running_loop().set_default_executor(threads)
    spool = Spool(str(tmp_path), 0)
    await spool.write(bytes(BLOCK))
    await spool.write(b"1")

    keeping = asyncio.ensure_future(spool.keep())
    early, _ = await asyncio.wait({keeping}, timeout=0.05)
    assert not early
    threads.release.set()
    await keeping

    (kept,) = tmp_path.iterdir()
    assert kept.stat().st_size == BLOCK + 1


async def test_missing_folder_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    spool = Spool(str(tmp_path / "gone"), 0)
    await spool.write(b"body")

    with pytest.raises(StoreUnwritableError, match=r"cannot write .*/gone/\w+: No such file"):
        await spool.finish()
    await spool.discard()


async def test_file_that_cannot_grow_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    """A limit on the size of files stands in for a disk that fills up midway."""
    spool = Spool(str(tmp_path), 0)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (BLOCK + 10, limits[1]))

    try:
        with pytest.raises(StoreError, match=f"cannot write {tmp_path}/\\w+: File too large"):
            await fill(spool, 3 * BLOCK)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    await spool.discard()

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, StoreFullError),
        (errno.EDQUOT, StoreFullError),
        (errno.EROFS, StoreUnwritableError),
        (errno.EACCES, StoreUnwritableError),
        (errno.EIO, StoreError),
    ],
)
def test_refusal_of_the_file_system_has_a_class(number: int, kind: type[StoreError]) -> None:
    found = store_error("/staging/a", OSError(number, "reason"))

    assert type(found) is kind
    assert str(found) == "cannot write /staging/a: reason"


async def test_error_of_a_write_comes_out_at_the_next_step(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    spool = Spool(str(folder), 0)
    folder.rmdir()
    await spool.write(bytes(BLOCK))

    with pytest.raises(StoreError):
        await spool.write(bytes(BLOCK))
    await spool.discard()


class FirstHeld(ThreadPoolExecutor):
    """Threads of which the one with the first job does not begin before `release`."""

    def __init__(self) -> None:
        super().__init__(2)
        self.release = Event()
        self._first = True

    def submit(self, job: Callable[..., T], /, *arguments: Any, **named: Any) -> Future[T]:
        held, self._first = self._first, False

        def run() -> T:
            if held:
                self.release.wait(20)
            return job(*arguments, **named)

        return super().submit(run)


async def fill(spool: Spool, size: int) -> None:
    for _ in range(size // BLOCK):
        await spool.write(bytes(BLOCK))
    await spool.finish()


def test_fresh_paths_differ() -> None:
    assert len({fresh_path("folder") for _ in range(1000)}) == 1000
    assert fresh_path("folder").startswith("folder/")
