"""Staging folders: where bytes live before they have a name.

1. A run has one staging folder, `<parent>/<unique>/`, and holds the lock `<parent>/<unique>.lock`
   as long as it lives.
2. The lock is taken before the folder is made and removed after the folder is gone; so a folder
   whose lock can be had is of the dead, and a folder without one does not occur.
3. Only the dead are tidied away, by the next opening of the store.
4. What a run has not stored goes with its folder, except large bodies that are whole
   (`flowsync.store.staging`).

The lock is a file beside the folder, not the folder itself, because network file systems lock only
what is open for writing.

Also here: locks on files, partials, and blobs as files of this machine. Each lives in a staging
folder, under its lock.
"""

import fcntl
import os
import re
import secrets
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import (
    AbstractContextManager,
    ExitStack,
    asynccontextmanager,
    contextmanager,
    suppress,
)
from functools import partial
from typing import BinaryIO, Final, TypeVar

import msgspec
from blake3 import blake3

from flowsync.errors import BlobDamagedError, BlobMissingError
from flowsync.runtime.tasks import in_thread, opened_in_thread, task_group
from flowsync.store.durability import make_folder, store_errors, without_locks
from flowsync.store.port import BlobStore, StoreUsage

# File locks that say whether the process that made something is still alive.
#
# The kernel drops a lock when the last process that holds it ends, however it ends; so a lock that
# can be had belongs to no living process. The lock file is removed by its owner: a process that
# gets hold of one that was removed in the meantime has got nothing.


def claim(path: str, flags: int = 0, mode: int = 0o600, *, access: int = os.O_RDWR) -> int | None:
    """Open and lock the file, and return its descriptor; closing it gives the lock back.

    Return None when another holds the lock, and when the file was removed. `flags`, `mode` and
    `access` are those of open; with `O_CREAT` the file is made, and a folder that is not there is a
    `FileNotFoundError`. A file that may not be written can be locked with `O_RDONLY`, but not on
    NFS, which answers EBADF.
    """
    try:
        fd = os.open(path, access | flags, mode)
    except FileNotFoundError:
        if flags & os.O_CREAT:
            raise
        return None
    try:
        if lock(fd, fcntl.LOCK_EX, path) and os.fstat(fd).st_nlink > 0:
            held, fd = fd, -1
            return held
    finally:
        if fd >= 0:
            os.close(fd)
    return None


def lock(fd: int, kind: int, path: str) -> bool:
    """Take the lock of an open file if it can be had at once; say whether it was. Raise `OSError`,
    which names a file system without locks.
    """
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise without_locks(path, error) from error
    return True


# Partials: bodies that outlive the run that fetched them, so that the next one goes on from the
# bytes that are there.
#
# 1. A partial lies in `<staging>/partial/`, beside the folders of runs and on their file system:
#    its bytes under the digest that is wanted, and beside them a record of where they came from.
# 2. A user of one holds a claim on it, by a lock on the record, until the process ends at the
#    latest. So no two ever write one file; who does not get the claim does without.
# 3. What the file holds is what counts, its length above all. The record is written when the file
#    is still empty, so bytes never stand beside the record of others; only a machine that loses
#    power may mix them, and then the digest, without which there is no partial, tells.
# 4. A body that is whole and not stored yet lies in its run's folder under a name that tells which
#    it is. When the folder is removed with its run, or after it, such a body becomes a partial
#    again.
# 5. Kept is only what can be continued or is whole, and only where the file system has as much room
#    left: a disk that fills up gets its room back, as from everything else in staging. What nobody
#    touched for `LIFETIME` goes when a store is opened.
#
# The reasons stand in docs/decisions/0010.

LIFETIME: Final = 7 * 24 * 3600.0
"""Seconds that a partial is kept without a byte being added."""

_FOLDER: Final = "partial"
_RECORD: Final = ".json"
_WHOLE: Final = re.compile(r"[0-9a-f]+\.([0-9a-z]+-[0-9a-f]+)")
_LARGEST_RECORD: Final = 1 << 16


class Record(msgspec.Struct, frozen=True):
    """Where the bytes of a partial came from: the digest of the URL, and the strong validator that
    upstream gave.
    """

    source: str
    validator: str


class Partial:
    """A partial that this process has claimed. Made by `claimed`; its methods block, and are called
    by one thread at a time.

    `size` is the length of the file as it was last looked at, 0 without one; `whole_size` is that
    of the whole body, if it is known.
    """

    def __init__(self, folder: str, name: str, lock: int, whole_size: int | None) -> None:
        self.path = f"{folder}/{name}"
        self.size = 0
        self._name = name
        self._lock = lock
        self._whole_size = whole_size
        self._record: Record | None = None
        self.look()
        if whole_size is not None and self.size > whole_size:
            self.empty()

    @property
    def is_whole(self) -> bool:
        """Whether there are as many bytes as the body has."""
        return self.size == self._whole_size

    def validator_for(self, url: str) -> str | None:
        """Return the validator with which to ask `url` for the rest, or `None` where the bytes came
        from elsewhere.
        """
        record = self._record
        return record.validator if record and self.size and record.source == _source(url) else None

    def look(self) -> None:
        """See what is there."""
        try:
            self.size = os.stat(self.path).st_size
        except FileNotFoundError:
            self.size = 0
        self._record = _decode(os.pread(self._lock, _LARGEST_RECORD, 0))

    def begin(self, url: str, validator: str | None) -> BinaryIO:
        """Open the file without any bytes for those of `url`, and write down where they come from.
        Raise `OSError`.
        """
        self.empty()
        stream = open(self.path, "xb", opener=_open_private)  # noqa: SIM115 -- closed by the writer
        if validator is not None:
            try:
                record = Record(_source(url), validator)
                os.pwrite(self._lock, msgspec.json.encode(record), 0)
            except BaseException:
                stream.close()
                raise
        return stream

    def resume(self) -> BinaryIO:
        """Open the file to add to its bytes. Raise `OSError`."""
        return open(self.path, "ab", opener=_open_private)

    def empty(self) -> None:
        """Throw the bytes away and forget where they came from."""
        with suppress(FileNotFoundError):
            os.unlink(self.path)
        os.ftruncate(self._lock, 0)
        self.size, self._record = 0, None

    def move(self, folder: str) -> str:
        """Move the file, which is whole and verified, into the folder of a run, and return its path
        there.
        """
        path = f"{folder}/{secrets.token_hex(8)}.{self._name}"
        os.rename(self.path, path)
        return path

    def adopt(self, path: str) -> None:
        """Take a file that `move` brought elsewhere back."""
        os.rename(path, self.path)
        os.ftruncate(self._lock, 0)

    @property
    def _deserves_room(self) -> bool:
        if not self.size or not (self._record or self.is_whole):
            return False
        disk = os.statvfs(self.path)
        return disk.f_bavail * disk.f_frsize >= self.size

    def release(self) -> None:
        """Give the claim back, and keep the bytes if they are worth it."""
        try:
            self.look()
            if not self._deserves_room:
                self.remove()
        finally:
            os.close(self._lock)

    def remove(self) -> None:
        """Remove file and record; the claim is still to be given back, but no other can get it any
        more.
        """
        self.empty()
        os.unlink(self.path + _RECORD)

    def expire(self, before: float) -> None:
        """Remove what nobody added to since `before`, and give the claim back."""
        try:
            if not self.size or os.stat(self.path).st_mtime < before:
                self.remove()
        finally:
            os.close(self._lock)


@contextmanager
def claimed(staging: str, name: str, size: int) -> Iterator[Partial | None]:
    """Claim the partial of a body of `size` bytes for the block, new or with what is there; give
    `None` when it cannot be had.

    `staging` is the staging folder of a run, `name` an algorithm and a digest, joined by a hyphen.
    """
    partial = _claim(f"{os.path.dirname(staging)}/{_FOLDER}", name, size)
    try:
        yield partial
    finally:
        if partial is not None:
            with suppress(OSError):
                partial.release()


def rescue(folder: str) -> None:
    """Make partials of the whole bodies that a run leaves in its staging folder."""
    with suppress(OSError), os.scandir(folder) as entries:
        found = [(e.path, match[1]) for e in entries if (match := _WHOLE.fullmatch(e.name))]
        for path, name in found:
            with claimed(folder, name, os.stat(path).st_size) as partial:
                if partial is not None:
                    partial.adopt(path)


def remove_old(parent: str) -> None:
    """Remove the partials among the staging folders in `parent` that were not touched for
    `LIFETIME`, and those without bytes.
    """
    folder = f"{parent}/{_FOLDER}"
    before = time.time() - LIFETIME
    try:
        names = {name.removesuffix(_RECORD) for name in os.listdir(folder)}
    except FileNotFoundError:
        return
    for name in names:
        partial = _claim(folder, name, None)
        if partial is not None:
            partial.expire(before)


def _claim(folder: str, name: str, size: int | None) -> Partial | None:
    """Claim a partial; `None` when another has it, or when the file system refuses: what wanted
    it finds out more by writing elsewhere.
    """
    record = f"{folder}/{name}{_RECORD}"
    try:
        try:
            lock = claim(record, os.O_CREAT)
        except FileNotFoundError:
            os.makedirs(folder, 0o700, exist_ok=True)
            lock = claim(record, os.O_CREAT)
        return None if lock is None else _opened(folder, name, lock, size)
    except OSError:
        return None


def _opened(folder: str, name: str, lock: int, size: int | None) -> Partial:
    try:
        return Partial(folder, name, lock, size)
    except BaseException:
        os.close(lock)
        raise


def _source(url: str) -> str:
    return blake3(url.encode()).hexdigest()


def _decode(raw: bytes) -> Record | None:
    """Return the record; nothing for one that is empty, torn, or of another form."""
    try:
        return msgspec.json.decode(raw, type=Record)
    except msgspec.DecodeError:
        return None


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


_LOCK: Final = ".lock"


class StagingArea:
    """All staging folders of one store, below `parent`. Any number of tasks and processes may use
    it at once. Stores of any kind keep one.
    """

    def __init__(self, parent: str) -> None:
        self.parent = parent

    def tidy(self) -> None:
        """Make the area if it is not there, and remove what the dead left and old partials. It
        blocks, and raises `OSError`.
        """
        make_folder(self.parent)
        remove_dead(self.parent)
        remove_old(self.parent)

    def held_folder(self) -> AbstractContextManager[str]:
        """Give a folder as `folder` does, to a thread."""
        # The area may have been removed since the store was opened.
        make_folder(self.parent)
        return staging_folder(self.parent)

    @asynccontextmanager
    async def folder(self) -> AsyncIterator[str]:
        """Give a run its folder, as `BlobStore.staging` says."""
        held = ExitStack()
        try:
            with store_errors(f"making a staging folder in {self.parent}"):
                folder = await in_thread(lambda: held.enter_context(self.held_folder()))
            yield folder
        finally:
            await in_thread(held.close)

    async def dead(self, *, remove: bool) -> StoreUsage:
        """Count what the dead left, and perhaps remove it, as `BlobStore.dead_staging` says."""
        with store_errors(f"tidying up {self.parent}"):
            return await in_thread(lambda: dead_usage(self.parent, remove=remove))


@contextmanager
def staging_folder(parent: str) -> Iterator[str]:
    """Give a new private folder below `parent` and hold its lock; remove it with all that is left
    in it but whole bodies.
    """
    folder, lock = _claim_new(parent)
    try:
        os.mkdir(folder, 0o700)
        yield folder
    finally:
        _discard(folder, lock)


def remove_dead(parent: str) -> None:
    """Remove the staging folders below `parent` that no living process holds."""
    for path in _locks(parent):
        lock = claim(path)
        if lock is not None:
            _discard(path.removesuffix(_LOCK), lock)


def dead_usage(parent: str, *, remove: bool) -> StoreUsage:
    """Count the folders below `parent` that no living process holds and the bytes in them, and
    perhaps remove them.
    """
    folders = size = 0
    for path in _locks(parent):
        lock = claim(path)
        if lock is None:
            continue
        folder = path.removesuffix(_LOCK)
        folders += 1
        size += _size(folder)
        if remove:
            _discard(folder, lock)
        else:
            os.close(lock)
    return StoreUsage(folders, size)


def _locks(parent: str) -> list[str]:
    with os.scandir(parent) as entries:
        return [entry.path for entry in entries if entry.name.endswith(_LOCK)]


def _size(folder: str) -> int:
    return sum(
        os.lstat(os.path.join(parent, name)).st_size
        for parent, _, names in os.walk(folder)
        for name in names
    )


def _claim_new(parent: str) -> tuple[str, int]:
    # What tidies may get the lock between its creation and our claim. Then this one is
    # theirs; take another.
    while True:
        folder = f"{parent}/{secrets.token_hex(8)}"
        lock = claim(folder + _LOCK, os.O_CREAT | os.O_EXCL)
        if lock is not None:
            return folder, lock


def _discard(folder: str, lock: int) -> None:
    try:
        rescue(folder)
        shutil.rmtree(folder, ignore_errors=True)
        # What could not be removed keeps its lock file, and is tried again by the next who tidies.
        if not os.path.lexists(folder):
            with suppress(FileNotFoundError):
                os.unlink(folder + _LOCK)
    finally:
        os.close(lock)


# Blobs as files of this machine, whatever the store is.
#
# 1. A copy is made of bytes whose BLAKE3 is the name of the blob, or not at all.
# 2. Copies are made some at a time. Memory holds a chunk of each.
# 3. What opens and writes files runs in threads.

COPIES_AT_ONCE: Final = 32
"""Blobs that are copied at a time."""

T = TypeVar("T")

_ANY_NAME: Final = "0" * 64


def has_local_files(store: BlobStore) -> bool:
    """Say whether the blobs of the store are files of this machine."""
    return store.local(_ANY_NAME) is not None


async def bring(store: BlobStore, names: Iterable[str], folder: str) -> dict[str, str]:
    """Return files that hold the blobs, by their names, to be read and not to be changed: those of
    the store where it has some, or else new ones in `folder`, which are the caller's.

    A blob that is missing or damaged is not among the copies. Raise `StoreError` when the store or
    the folder cannot be used.
    """
    wanted = dict.fromkeys(names)
    files = {name: path for name in wanted if (path := store.local(name)) is not None}

    async def copy_one(name: str) -> None:
        path = f"{folder}/{name}.{secrets.token_hex(8)}"
        with suppress(BlobMissingError, BlobDamagedError):
            await _copy_to(store, name, path)
            files[name] = path

    await for_each([name for name in wanted if name not in files], copy_one)
    return files


async def copy_blob(store: BlobStore, name: str, create: Callable[[], BinaryIO]) -> int:
    """Write the blob into the file that `create` opens, in a thread, and close it; return its size
    in bytes.

    Raise `BlobMissingError` before the file is made. Raise `BlobDamagedError` when the bytes have
    another digest, `StoreError` when they cannot be read, and `OSError` when they cannot be
    written; the file is worth nothing then.
    """
    async with store.reading(name) as reader:
        copy = await opened_in_thread(_Copy, create, close=_Copy.close)
        try:
            async for chunk in reader.chunks:
                await in_thread(copy.write, chunk)
        finally:
            await in_thread(copy.close)
    if copy.digest != name:
        raise BlobDamagedError(
            f"blob {name} of {store.name} is damaged: "
            f"its {copy.size} bytes have blake3 {copy.digest}"
        )
    return copy.size


async def for_each(items: Sequence[T], work: Callable[[T], Awaitable[None]]) -> None:
    """Do the work for all items, for `COPIES_AT_ONCE` at a time. Raise the first error."""
    left: Iterator[T] = iter(items)

    async def work_on() -> None:
        for item in left:
            await work(item)

    async with task_group() as group:
        for _ in range(min(COPIES_AT_ONCE, len(items))):
            group.create_task(work_on())


async def _copy_to(store: BlobStore, name: str, path: str) -> None:
    with store_errors(f"copying blob {name} to {path}"):
        try:
            await copy_blob(store, name, partial(_create, path))
        except BaseException:
            await in_thread(_remove, path)
            raise


def _create(path: str) -> BinaryIO:
    return open(path, "xb")


def _remove(path: str) -> None:
    with suppress(OSError):
        os.unlink(path)


class _Copy:
    """A file that is being written; its methods block."""

    def __init__(self, create: Callable[[], BinaryIO]) -> None:
        self.size = 0
        self._hasher = blake3()
        self._file = create()

    @property
    def digest(self) -> str:
        return self._hasher.hexdigest()

    def write(self, chunk: bytes) -> None:
        self._file.write(chunk)
        self._hasher.update(chunk)
        self.size += len(chunk)

    def close(self) -> None:
        self._file.close()
