"""The export of a version: a folder of files, each a hard link to its blob where possible and a
copy otherwise.

1. Paths are validated again although they were validated when they were declared: nothing is ever
   written outside of the folder.
2. Memory does not grow with the number of files: one batch of entries is held, and no set of what
   was made.
3. A failure, or a killed process, leaves the target as it was.

4. Files are links where the store has local files, and copies whose digest was compared elsewhere.

The export reads no catalog: its caller streams the entries.
"""

import errno
import os
import shutil
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from flowsync.errors import BlobMissingError, ExportError, StoreError
from flowsync.runtime.tasks import in_thread
from flowsync.store.durability import describe
from flowsync.store.export.tree import (
    FILE_MODE,
    FOLDER_MODE,
    MARKER,
    give_mode,
    new_tree,
    publish,
    rename_marker,
)
from flowsync.store.port import BlobStore
from flowsync.store.staging import copy_blob, for_each, has_local_files

Entry = tuple[str, str]
"""A relative path in the exported folder, and the name of the blob."""

# Another file system; a full inode; a file of another user under protected_hardlinks; no links on
# this file system.
_NO_LINK: Final = frozenset(
    {errno.EXDEV, errno.EMLINK, errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS}
)


Write = Callable[[str, Iterable[bytes]], None]
"""Writes a file of an export at a relative path; for one thread at a time. Raises `ExportError`."""

Beside = Callable[[Write], Awaitable[None]]


class ExportReport(msgspec.Struct, frozen=True, kw_only=True):
    """What an export wrote: the number of files, their bytes, and how many were linked and how many
    copied.
    """

    files: int
    bytes: int
    linked: int
    copied: int


async def export_tree(
    store: BlobStore,
    entries: AsyncIterable[Sequence[Entry]],
    folder: Path,
    marker: Mapping[str, object],
    beside: Beside | None = None,
) -> ExportReport:
    """Write the entries out as `folder`, which appears whole, in one step, or not at all.

    `folder` may be absent, empty, or made by an earlier export, which it then replaces; a symbolic
    link to a folder is followed. `marker` is kept as JSON in the folder's `.flowsync-export.json`,
    or in a file named like it where an entry has that name. `beside` writes what comes to the
    entries, through the function that it is given.

    Raise `ExportError` when the folder holds anything else, when a path leads out of it or two
    paths collide, when a blob cannot be read or is found damaged, and when the system refuses;
    `BlobMissingError` when a blob is not there.
    """
    target = await in_thread(_target, str(folder))
    held = ExitStack()
    try:
        new = new_tree(target, msgspec.json.encode(marker))
        tree = _Tree(await in_thread(held.enter_context, new))
        add = _link if has_local_files(store) else _copy_each
        async for batch in entries:
            await add(store, tree, batch)
        if beside is not None:
            await beside(tree.write)
        await in_thread(publish, tree.root, target)
        return tree.report()
    finally:
        await in_thread(held.close)


def _target(folder: str) -> str:
    try:
        return os.path.realpath(folder)
    except FileNotFoundError as error:
        raise ExportError(
            f"cannot export to {folder!r}: it is relative, and the working directory does not "
            "exist any more"
        ) from error


async def _link(store: BlobStore, tree: "_Tree", batch: Sequence[Entry]) -> None:
    files = [(path, str(store.local(name))) for path, name in batch]
    await in_thread(tree.add, files)


async def _copy_each(store: BlobStore, tree: "_Tree", batch: Sequence[Entry]) -> None:
    await in_thread(tree.make_folders, [path for path, _ in batch])

    async def copy_one(entry: Entry) -> None:
        path, name = entry
        try:
            size = await copy_blob(store, name, partial(tree.create, path))
        except BlobMissingError as error:
            raise BlobMissingError(f"cannot export {path!r}: {error}") from error
        except StoreError as error:
            raise ExportError(f"cannot export {path!r}: {error}") from error
        except OSError as error:
            raise _refused(error, path) from error
        tree.note_copy(size)

    await for_each(batch, copy_one)


class _Tree:
    """Fills one folder. `add` and `make_folders` are for one thread at a time, `create` for any
    number.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self._marker = MARKER
        self._bytes = 0
        self._linked = 0
        self._copied = 0

    def report(self) -> ExportReport:
        return ExportReport(
            files=self._linked + self._copied,
            bytes=self._bytes,
            linked=self._linked,
            copied=self._copied,
        )

    def add(self, files: Sequence[tuple[str, str]]) -> None:
        """Link or copy files, each from its own path to that in the tree, which comes first."""
        for path, blob in files:
            _check_path(path)
            try:
                self._make_way(path)
                self._put(blob, f"{self.root}/{path}")
            except OSError as error:
                raise _explained(error, path, blob) from error

    def make_folders(self, paths: Sequence[str]) -> None:
        """Make the folders of files that are to be created."""
        for path in paths:
            _check_path(path)
            try:
                self._make_way(path)
                _make_folder(os.path.dirname(f"{self.root}/{path}"))
            except OSError as error:
                raise _refused(error, path) from error

    def create(self, path: str) -> BinaryIO:
        """Create a file of the tree, to be written and closed. Raise `OSError`."""
        return _create(f"{self.root}/{path}")

    def write(self, path: str, pieces: Iterable[bytes]) -> None:
        """Write a file that is no blob."""
        self.make_folders([path])
        try:
            with self.create(path) as file:
                size = sum(file.write(piece) for piece in pieces)
        except OSError as error:
            raise _refused(error, path) from error
        self.note_copy(size)

    def note_copy(self, size: int) -> None:
        """Count a file that was created and written."""
        self._copied += 1
        self._bytes += size

    def _make_way(self, path: str) -> None:
        if path.startswith(self._marker) and path.partition("/")[0] == self._marker:
            self._marker = rename_marker(self.root, self._marker)

    def _put(self, blob: str, destination: str) -> None:
        # Trying first spares a set of the folders made so far. What is still not found afterwards
        # is the blob.
        try:
            self._link_or_copy(blob, destination)
        except FileNotFoundError:
            _make_folder(os.path.dirname(destination))
            self._link_or_copy(blob, destination)
        self._bytes += os.stat(destination).st_size

    def _link_or_copy(self, blob: str, destination: str) -> None:
        try:
            os.link(blob, destination)
        except OSError as error:
            if error.errno not in _NO_LINK:
                raise
            _copy(blob, destination)
            self._copied += 1
        else:
            self._linked += 1


def _copy(blob: str, destination: str) -> None:
    with open(blob, "rb") as source, _create(destination) as copy:
        shutil.copyfileobj(source, copy, 1 << 20)


def _create(destination: str) -> BinaryIO:
    copy = open(destination, "xb")  # noqa: SIM115 - closed by the caller
    try:
        give_mode(copy.fileno(), FILE_MODE)
    except BaseException:
        copy.close()
        raise
    return copy


def _make_folder(path: str) -> None:
    """Make the folder and those above it, as far as they are missing."""
    if os.path.isdir(path):
        return
    _make_folder(os.path.dirname(path))
    os.mkdir(path)
    give_mode(path, FOLDER_MODE)


def _check_path(path: str) -> None:
    parts = path.split("/")
    if "\0" in path or not {"", ".", ".."}.isdisjoint(parts):
        raise ExportError(f"cannot export {path!r}: it is no plain relative path")
    try:
        os.fsencode(path)
    except UnicodeEncodeError as error:
        raise ExportError(f"cannot export {path!r}: no file can have this name") from error


def _explained(error: OSError, path: str, blob: str) -> BlobMissingError | ExportError:
    if isinstance(error, FileNotFoundError):
        return BlobMissingError(f"cannot export {path!r}: there is no blob at {blob}")
    return _refused(error, path)


def _refused(error: OSError, path: str) -> ExportError:
    if isinstance(error, (FileExistsError, NotADirectoryError, IsADirectoryError)):
        return ExportError(f"cannot export {path!r}: another file has this path, or a part of it")
    return ExportError(f"cannot export {path!r}: {describe(error)}")
