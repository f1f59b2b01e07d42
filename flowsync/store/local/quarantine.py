"""The folder aside in which damaged blobs are kept: out of reach of those who serve or export,
within reach of a person who wants to know what happened.

It holds one thing a name, the last that was found there. It is made with the first damage. A blob
that is whole again takes its damaged copy away, and what turns out to be right after all goes back
to its name: it was put here by mistake.
"""

import os
import shutil
import stat
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import TypeAlias

import msgspec

from flowsync.store.durability import flush
from flowsync.store.failures import describe
from flowsync.store.local.shelves import Shelves, digest_of

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
