"""The folder aside in which damaged blobs are kept: out of reach of whoever serves or exports, within reach of whoever wants to know what happened.

It holds one thing a name, the last that was found there, and nothing in it is ever read by flowsync. It is made with the first damage. A blob that is
whole again takes its damaged copy away.
"""

import os
import shutil
from collections.abc import Iterable

import msgspec

from flowsync.store.shelves import Shelves


class Quarantine(msgspec.Struct, frozen=True):
    """The folder at `root`, on the file system of the blobs. Used by whoever holds the store's lock for removing."""

    root: str

    def take(self, shelves: Shelves, names: Iterable[str]) -> None:
        """Move what stands under the names here, whatever it is; a name under which nothing stands is fine."""
        os.makedirs(self.root, mode=0o700, exist_ok=True)
        for name in names:
            place = f"{self.root}/{name}"
            _remove(place)
            try:
                os.rename(shelves.path(name), place)
            except FileNotFoundError:
                continue

    def release(self, names: Iterable[str]) -> None:
        """Remove what is kept of these names."""
        for name in names:
            _remove(f"{self.root}/{name}")


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
