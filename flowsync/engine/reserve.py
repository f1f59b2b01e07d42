"""Room on the disk that is kept for what frees room: on a full disk a database can neither start
nor remove a row.

The reserve is a file in the home whose blocks are taken. Every engine makes it when there is room
enough: a disk that is nearly full is left to the store. What frees space gives the reserve up
first, and afterwards takes what it did not need, or all of it.
"""

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

EMBEDDED_BYTES: Final = 48 << 20
"""For an embedded server: three segments of its log. One is taken by a start after a crash, the
others by what is removed.
"""

STORE_BYTES: Final = 1 << 20
"""For a store alone: folders and lock files."""

_TIMES: Final = 4
"""How many reserves are free at least when one is made."""


class Reserve:
    """The reserve of a home. Its methods wait for the disk, and never fail: a reserve that cannot
    be made or removed is none.
    """

    def __init__(self, home: Path, size: int) -> None:
        self._path = home / "reserve"
        self._size = size

    def keep(self) -> None:
        """Make the reserve, unless it is there or the disk has no room to spare."""
        with suppress(OSError):
            if not self._is_whole() and self._has_room():
                self._make(self._size)

    def give_up(self) -> None:
        """Give the blocks back."""
        with suppress(OSError):
            self._path.unlink()

    def take_back(self) -> None:
        """Make the reserve, or as much of it as there is room for."""
        with suppress(OSError):
            for share in (1, 2, 4, 8):
                if self._make(self._size // share):
                    return

    def _is_whole(self) -> bool:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return False
        # A copy may have holes.
        return found.st_blocks * 512 >= self._size

    def _has_room(self) -> bool:
        disk = os.statvfs(self._path.parent)
        return disk.f_bavail * disk.f_frsize >= _TIMES * self._size

    def _make(self, size: int) -> bool:
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            os.posix_fallocate(file, 0, size)
        except OSError:
            self.give_up()
            return False
        finally:
            os.close(file)
        return True
