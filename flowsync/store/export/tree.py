"""The folder that an export builds, from its first file to the swap with what stood there before.

1. It is built in a sibling of the target, `.<name>.<16 hexadecimal digits>`, and appears under the
   target's name in one step, durable.
2. The first file in it is the marker `.flowsync-export.json`; where a file of the tree has that
   name, the marker takes another one, with 16 hexadecimal digits. It says that the folder was made
   here and may be replaced whole, and while the folder is being built its lock says that the
   builder lives. Siblings whose lock can be had are left-overs and are removed.
3. Files are read-only, and every user may read them and enter the folders, whatever the umask is.
   Who may come so far is what the folder above says.
4. A folder that holds anything and no marker is never replaced. This is asked before the work, and
   again of what the swap took away: if another folder was put there meanwhile, it is put back.

Also here: the exchange of two folders.
"""

import errno
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

from flowsync.errors import ExportError
from flowsync.store import kernel
from flowsync.store.durability import export_errors, flush, flush_tree
from flowsync.store.staging import claim

# The exchange of two folders, so that a half of either is never seen.
#
# `renameat2(RENAME_EXCHANGE)` does it in one atomic step. A file system, or a sandbox, that cannot
# (network file systems, mostly) gets three renames; for an instant between them the name is free,
# and a process killed just then leaves it free, with both folders beside it.

_UNKNOWN: Final = frozenset({errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM})


def exchange(one: str, other: str, aside: str) -> None:
    """Swap two existing folders of one file system; `aside` is a free name on it for the
    way round.
    """
    try:
        kernel.exchange(one, other)
    except OSError as error:
        if error.errno not in _UNKNOWN:
            raise
        exchange_by_renames(one, other, aside)


def exchange_by_renames(one: str, other: str, aside: str) -> None:
    """Swap two folders by renames; when the second rename fails, the first is taken back."""
    os.rename(other, aside)
    try:
        os.rename(one, other)
    except OSError:
        os.rename(aside, other)
        raise
    os.rename(aside, one)


MARKER: Final = ".flowsync-export.json"
"""The file that marks a folder as made by an export."""

_MARKERS: Final = re.compile(r"\.flowsync-export(-[0-9a-f]{16})?\.json")

FILE_MODE: Final = 0o444
"""The mode of all files: that of blobs, which is also that of links to them."""

FOLDER_MODE: Final = 0o755
"""The mode of all folders: a user who reaches the exported folder may read it, such as a web
server.
"""

# What chmod answers on file systems that keep no modes.
_NO_MODES: Final = frozenset({errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP})

# What rename answers when the target is a folder that holds files; an empty one is replaced.
_TAKEN: Final = frozenset({errno.ENOTEMPTY, errno.EEXIST})


@contextmanager
def new_tree(target: str, marker: bytes) -> Iterator[str]:
    """Give a new folder beside `target` that holds the marker alone; afterwards remove what then
    stands under its name.

    Raise `ExportError` when the target must not be replaced, or the folder cannot be made.
    """
    with export_errors(f"cannot export to {target}"):
        check_replaceable(target)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        _remove_leftovers(target)
        folder, lock = _claim_new(target)
    try:
        with export_errors(f"cannot export to {target}"), open(lock, "wb", closefd=False) as file:
            file.write(marker)
            give_mode(lock, FILE_MODE)
        yield folder
    finally:
        # After a swap this is the old tree.
        _remove(folder)
        os.close(lock)


def give_mode(file: str | int, mode: int) -> None:
    """Give a file or folder its mode, whatever the umask is, where the file system has modes."""
    try:
        os.chmod(file, mode)
    except OSError as error:
        if error.errno not in _NO_MODES:
            raise


def publish(folder: str, target: str) -> None:
    """Make the folder durable and let it take the target's name; what stood there stands under the
    folder's name then.
    """
    with export_errors(f"cannot export to {target}"):
        flush_tree(folder)
        try:
            os.rename(folder, target)
        except OSError as error:
            if error.errno not in _TAKEN:
                raise
            check_replaceable(target)
            _exchange_checked(folder, target)
        flush(os.path.dirname(target))


def rename_marker(folder: str, marker: str) -> str:
    """Give the marker of a folder that is being built another name, and return it."""
    name = f".flowsync-export-{secrets.token_hex(8)}.json"
    os.rename(f"{folder}/{marker}", f"{folder}/{name}")
    return name


def check_replaceable(target: str) -> None:
    """Raise `ExportError` unless the target is absent, an empty folder, or a folder that an export
    made.
    """
    if not os.path.lexists(target):
        return
    if not os.path.isdir(target):
        raise ExportError(f"cannot export to {target}: it is a file; name a folder")
    if os.path.ismount(target):
        raise ExportError(
            f"cannot export to {target}: a mount point cannot be replaced; name a folder below it"
        )
    if not _may_go(target):
        raise ExportError(
            f"cannot export to {target}: it holds files and was not made by an export; "
            "name an empty folder, or one that does not exist"
        )


def _exchange_checked(folder: str, target: str) -> None:
    aside = _sibling(target)
    exchange(folder, target, aside)
    if not _may_go(folder):
        exchange(folder, target, aside)
        raise ExportError(
            f"cannot export to {target}: another program put a folder there meanwhile"
        )


def _may_go(folder: str) -> bool:
    return os.path.isdir(folder) and (_is_marked(folder) or not os.listdir(folder))


def _is_marked(folder: str) -> bool:
    # Mostly it has its usual name; only else is the folder read.
    try:
        if stat.S_ISREG(os.lstat(f"{folder}/{MARKER}").st_mode):
            return True
    except FileNotFoundError:
        pass
    return bool(_markers(folder))


def _markers(folder: str) -> list[str]:
    """Return the files that are the marker, or files of the tree that are named like one."""
    with os.scandir(folder) as entries:
        return [
            entry.path
            for entry in entries
            if _MARKERS.fullmatch(entry.name) and entry.is_file(follow_symlinks=False)
        ]


def _claim_new(target: str) -> tuple[str, int]:
    # What tidies may remove the folder between its creation and our claim. Then take
    # another.
    while True:
        folder = _sibling(target)
        os.mkdir(folder)
        give_mode(folder, FOLDER_MODE)
        try:
            lock = claim(f"{folder}/{MARKER}", os.O_CREAT | os.O_EXCL, 0o644)
        except FileNotFoundError:
            continue
        if lock is not None:
            return folder, lock


def _sibling(target: str) -> str:
    parent, name = os.path.split(target)
    return os.path.join(parent, f".{name}.{secrets.token_hex(8)}")


def _remove_leftovers(target: str) -> None:
    parent, name = os.path.split(target)
    ours = re.compile(rf"\.{re.escape(name)}\.[0-9a-f]{{16}}")
    with os.scandir(parent) as entries:
        found = [entry.path for entry in entries if ours.fullmatch(entry.name)]
    for folder in found:
        _remove_leftover(folder)


def _remove_leftover(folder: str) -> None:
    if not _is_marked(folder):
        _remove_if_empty(folder)
        return
    with ExitStack() as held:
        for marker in _markers(folder):
            lock = _claim_marker(marker)
            if lock is None:
                return
            held.callback(os.close, lock)
        _remove(folder)


def _claim_marker(marker: str) -> int | None:
    """Lock a marker, or what has the name of one; return None while it is another's."""
    try:
        return claim(marker)
    except PermissionError:
        # A marker is read-only, as all of an export is, and only root may write it all the same.
        if os.lstat(marker).st_uid != os.geteuid():
            return None
    try:
        return claim(marker, access=os.O_RDONLY)
    except OSError as error:
        if error.errno != errno.EBADF:
            raise
        return None


def _remove_if_empty(folder: str) -> None:
    try:
        os.rmdir(folder)
    except OSError:
        return


def _remove(folder: str) -> None:
    # Never anything that is not ours. What cannot be removed is left to the next export.
    if os.path.lexists(folder) and _may_go(folder):
        shutil.rmtree(folder, ignore_errors=True)
