"""The fan-out folders in which the blobs of a local store stand.

A blob stands at `<root>/ab/abcd…`, the folder named by the first two of its 64 digits. It appears
there by rename only, whole and read-only.

Decisions: docs/decisions/0010.
"""

import errno
import logging
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Final, TypeAlias

import blake3
import msgspec

from flowsync.store.durability import describe, flush
from flowsync.store.port import BlobState, StoreUsage

_log = logging.getLogger(__name__)

_NAME: Final = re.compile(r"[0-9a-f]{64}")

_CHUNK: Final = 1 << 20
"""Bytes read at once when a blob is verified."""


class Shelves(msgspec.Struct, frozen=True):
    """The folders below `root`. It remembers nothing, so any number of threads and processes may
    use the same ones.
    """

    root: str

    def folder(self, name: str) -> str:
        """Return the folder in which the blob stands."""
        return f"{self.root}/{name[:2]}"

    def path(self, name: str) -> str:
        """Return where the blob is, or would be."""
        return f"{self.root}/{name[:2]}/{name}"

    def holds(self, name: str, size: int | None) -> bool:
        """Return whether the blob is there with the right size (bytes) and digest; one that cannot
        be read is not.
        """
        try:
            # What stands there may be no file: opening a pipe must not wait.
            with open(self.path(name), "rb", buffering=0, opener=_without_waiting) as blob:
                return os.fstat(blob.fileno()).st_size == size and digest_of(blob.fileno()) == name
        except OSError:
            return False

    def place(self, source: str, name: str) -> None:
        """Move a finished file to its name, in the place of what may stand there."""
        target = self.path(name)
        # Trying first costs nothing once the folder exists, and heals a store from which someone
        # tidied away empty folders.
        try:
            _move(source, target)
        except FileNotFoundError:
            os.makedirs(self.folder(name), exist_ok=True)
            _move(source, target)
        except IsADirectoryError:
            # No blob has such a name, so nothing looks at it again.
            os.rename(target, f"{target}.{os.urandom(4).hex()}")
            _move(source, target)

    def missing(self, names: Iterable[str]) -> set[str]:
        """Return those of the names that have no blob."""
        return {name for name in names if not os.path.exists(self.path(name))}

    def state(self, name: str) -> BlobState | None:
        """Return what stands under the name, links not followed; a thing that is no file has the
        size -1, as has one that cannot be looked at.
        """
        try:
            found = os.stat(self.path(name), follow_symlinks=False)
        except FileNotFoundError:
            return None
        except OSError as error:
            return BlobState(-1, 0.0, (), trouble=describe(error))
        size = found.st_size if stat.S_ISREG(found.st_mode) else -1
        identity = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
        return BlobState(size, found.st_mtime, identity)

    def names(self) -> Iterator[str]:
        """Yield the names of all blobs; what has no such name is no blob. The log tells of folders
        that cannot be looked into.
        """
        for folder in _folders(self.root):
            try:
                with os.scandir(folder) as entries:
                    yield from (entry.name for entry in entries if _NAME.fullmatch(entry.name))
            except OSError as error:
                _log.warning("the blobs in %s cannot be listed: %s", folder, error.strerror)

    def remove(self, names: Iterable[str]) -> dict[str, str]:
        """Remove blobs; one that is not there is fine. Return why not, for those that cannot be
        removed.
        """
        refused = {}
        for name in names:
            try:
                os.unlink(self.path(name))
            except FileNotFoundError:
                continue
            except OSError as error:
                refused[name] = describe(error)
                _log.warning("blob %s cannot be removed: %s", name, refused[name])
        return refused

    def usage(self) -> StoreUsage:
        """Count the blobs and their bytes, one folder at a time. A blob that is removed meanwhile
        may count or not.
        """
        measured = [_measure(folder) for folder in _folders(self.root)]
        return StoreUsage(
            sum(each.blobs for each in measured), sum(each.bytes for each in measured)
        )


def _move(source: str, target: str) -> None:
    try:
        os.rename(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        # Folders of one file system may be kept apart: by quotas of projects, by mounts.
        _move_across(source, target)


def _move_across(source: str, target: str) -> None:
    """Copy a file beside its new name, durably, then let it take the name."""
    folder, name = os.path.split(target)
    beside = f"{folder}/.{name}.{secrets.token_hex(8)}"
    try:
        shutil.copy(source, beside)
        flush(beside)
        os.rename(beside, target)
    except BaseException:
        with suppress(OSError):
            os.unlink(beside)
        raise
    os.unlink(source)


def _folders(root: str) -> Iterator[str]:
    with os.scandir(root) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield entry.path


def _measure(folder: str) -> StoreUsage:
    blobs = total = 0
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                try:
                    total += entry.stat(follow_symlinks=False).st_size
                except FileNotFoundError:
                    continue
                blobs += 1
    except OSError as error:
        _log.warning("the blobs in %s cannot all be counted: %s", folder, error.strerror)
    return StoreUsage(blobs, total)


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def digest_of(fd: int) -> str:
    """Return the BLAKE3 of an open file, which is the name it should have."""
    # Read, not mapped: a bad sector is then an error and not the end of the process.
    hasher = blake3.blake3()
    while chunk := os.read(fd, _CHUNK):
        hasher.update(chunk)
    return hasher.hexdigest()


# The folder aside in which damaged blobs are kept: out of reach of those who serve or export,
# within reach of a person who wants to know what happened.
#
# It holds one thing a name, the last that was found there. It is made with the first damage. A blob
# that is whole again takes its damaged copy away, and what turns out to be right after all goes
# back to its name: it was put here by mistake.

Identity: TypeAlias = tuple[int, ...]
"""What tells a file from another one that takes its name later."""


class Quarantine(msgspec.Struct, frozen=True):
    """The folder at `root`, on the file system of the blobs. Changed only under the store's lock
    for removing.
    """

    root: str

    def take(self, shelves: Shelves, names: Iterable[str]) -> dict[str, str]:
        """Move what stands under the names here, whatever it is; a name under which nothing stands
        is fine.

        Return why not, for those that cannot be moved.
        """
        refused = {}
        for name in names:
            os.makedirs(self.root, mode=0o700, exist_ok=True)
            place = f"{self.root}/{name}"
            try:
                _remove(place)
                os.rename(shelves.path(name), place)
            except FileNotFoundError:
                continue
            except OSError as error:
                refused[name] = describe(error)
        return refused

    def right(self, names: Iterable[str]) -> dict[str, Identity]:
        """Return those of the names whose bytes here are right, with what they were found in; what
        cannot be read is not among them.
        """
        found = {}
        if os.path.isdir(self.root):
            for name in names:
                with suppress(OSError), open(f"{self.root}/{name}", "rb", buffering=0) as kept:
                    if digest_of(kept.fileno()) == name:
                        found[name] = _identity(os.fstat(kept.fileno()))
        return found

    def put_back(self, shelves: Shelves, found: Mapping[str, Identity]) -> set[str]:
        """Move what `right` found to its names, durably, in the place of what stands there; return
        the names for which that was possible.
        """
        back = set()
        for name, identity in found.items():
            place = f"{self.root}/{name}"
            with suppress(OSError):
                state = os.stat(place, follow_symlinks=False)
                if not stat.S_ISREG(state.st_mode) or _identity(state) != identity:
                    continue
                if os.path.isdir(shelves.path(name)):
                    _remove(shelves.path(name))
                shelves.place(place, name)
                back.add(name)
        for folder in {shelves.folder(name) for name in back}:
            flush(folder)
        return back

    def release(self, names: Iterable[str]) -> None:
        """Remove what is kept of these names."""
        for name in names:
            _remove(f"{self.root}/{name}")


def _identity(state: os.stat_result) -> Identity:
    return state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
    except OSError:
        # A folder had taken the name of a blob. Systems disagree on the error of unlinking one.
        if not os.path.isdir(path):
            raise
        shutil.rmtree(path)
