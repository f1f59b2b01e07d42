"""The home: the folder where flowsync keeps its store and its embedded database.

1. What is made in a home belongs to the owner of the home; a home that does not exist yet belongs
   to the owner of the folder in which it is made. So root, who may write everywhere, leaves nothing
   that the owner cannot write: a program becomes the owner (`owner_to_become`), an engine of root's
   refuses the home of another user.
2. Its path is valid UTF-8, because paths stand in results and cross to worker processes.

Also here: signs of life of a sync, libpq's variables, and the room that is kept on the disk.
"""

import math
import os
import re
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, MutableMapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from flowsync.download.pacing.host_limits import Traffic
from flowsync.errors import SettingsError, StoreUnwritableError


def absolute(path: str | os.PathLike[str], what: str) -> Path:
    """Return the path as an absolute one. Raise `SettingsError` when it is empty, and when it is
    relative and the working directory was removed.
    """
    if not os.fspath(path):
        raise SettingsError(
            f"the path of the {what} is empty; for the working directory, name it: ."
        )
    try:
        return Path(path).absolute()
    except FileNotFoundError as error:
        raise SettingsError(
            f"the {what} {os.fspath(path)!r} is relative, and the working directory does not "
            "exist any more"
        ) from error


def default_home(environ: Mapping[str, str]) -> Path:
    """Return the home for those who name none: `flowsync` in the user's data folder. Raise
    `SettingsError` when the user has none.
    """
    data = environ.get("XDG_DATA_HOME", "")
    if os.path.isabs(data):
        return Path(data) / "flowsync"
    try:
        return Path.home() / ".local" / "share" / "flowsync"
    except RuntimeError as error:
        raise SettingsError(
            "this user has no home folder to keep flowsync's home in; name one with --home or "
            "FLOWSYNC_HOME"
        ) from error


def make_home(home: Path) -> None:
    """Create the folder unless it exists.

    Raise `SettingsError` when its path is no UTF-8, and `StoreUnwritableError` when it cannot be
    created, nothing can be written there, or this process is root and the home is another user's.
    """
    if not _is_utf8(home):
        raise SettingsError(
            f"the path of flowsync's home {str(home)!r} is not valid UTF-8; "
            "choose another one with --home or FLOWSYNC_HOME"
        )
    if (owner := owner_to_become(home)) is not None:
        raise StoreUnwritableError(
            f"flowsync's home {home} belongs to user {owner[0]} and this process runs as root: "
            f"what it makes there, that user could not write; run it as user {owner[0]}, or "
            "choose another home"
        )
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreUnwritableError(
            f"cannot create flowsync's home {home}: {error.strerror}; "
            "choose another one with --home or FLOWSYNC_HOME"
        ) from error
    if not os.access(home, os.W_OK | os.X_OK, effective_ids=True):
        raise StoreUnwritableError(
            f"flowsync's home {home} is not writable; choose another one with --home or "
            "FLOWSYNC_HOME"
        )


def owner_to_become(home: Path) -> tuple[int, int] | None:
    """Return user and group that own the home, when this process is root and they are others;
    otherwise `None`.

    `None` also where a file that root makes belongs to the owner anyway, as on some network file
    systems.
    """
    if os.geteuid() != 0:
        return None
    there = next((folder for folder in (home, *home.parents) if folder.is_dir()), None)
    if there is None:
        return None
    found = there.stat()
    if found.st_uid == 0 or _belongs_to_owner(there, found.st_uid):
        return None
    return found.st_uid, found.st_gid


def _belongs_to_owner(folder: Path, owner: int) -> bool:
    """Whether a file that this process makes in the folder belongs to its owner. What cannot be
    tried is another error's.
    """
    try:
        with tempfile.TemporaryFile(dir=folder) as probe:
            return os.fstat(probe.fileno()).st_uid == owner
    except OSError:
        return True


def _is_utf8(path: Path) -> bool:
    try:
        os.fsencode(path).decode()
    except UnicodeDecodeError:
        return False
    return True


# Signs of life of a sync: whether it receives anything, told from what its pipeline, its counters
# and the fetcher know already.
#
# A sync without one for a while is quiet. How long that is depends on what it does: an upstream
# that has not answered its first request says more than a pause between two files, and a stage that
# works on what it has may do so for a while.

UNANSWERED: Final = 0.05
"""Seconds that a first request may go without an answer, while the loop has time to notice one."""

LEAST: Final = 1024
"""Bytes that are a sign of life, unless an item comes: an upstream that sends a byte a second says
no more than one that is silent.
"""

PAUSE: Final = 1.0
"""Seconds without a sign of a sync that waits for upstream, for its repository, or for what cannot
be known.
"""

WORK: Final = 5.0
"""Seconds without a sign of a sync one of whose stages works on what it has."""


class Life:
    """What is known of one sync. `answered` says whether anything came to it yet."""

    def __init__(self, now: float) -> None:
        self.answered = False
        self._now = now
        self._since = now
        self._count: Callable[[], int] | None = None
        self._is_idle: Callable[[], bool] = lambda: True
        self._remotes: Collection[str] = ()
        self._last: tuple[int, int] | None = None

    @contextmanager
    def watched(
        self, count: Callable[[], int], is_idle: Callable[[], bool], remotes: Collection[str]
    ) -> Iterator[None]:
        """Look, while the block runs, at a count that grows with what the sync does, whether its
        stages only wait, and the traffic of its remotes.
        """
        self._count, self._is_idle, self._remotes = count, is_idle, remotes
        before = count()
        self._last = (before, 0)
        try:
            yield
        finally:
            # A short sync ends between two looks.
            self.answered = self.answered or before != count()
            self._count, self._is_idle = None, lambda: False

    def is_quiet(self, now: float, traffic: Mapping[str, Traffic], *, busy: bool) -> bool:
        """Say whether no sign has come for as long as to be quiet. `busy` says whether the loop had
        other things to do since the last look.
        """
        own = [traffic[name] for name in self._remotes if name in traffic]
        if self._count is not None:
            found = (self._count(), sum(each.taken for each in own))
            if self._last is None or is_sign(self._last, found):
                self.answered = True
                self._last, self._since = found, now
        asked = min((each.since for each in own), default=math.inf)
        if not self.answered and not busy and now - asked >= UNANSWERED:
            return True
        return now - self._since >= (PAUSE if self._is_idle() else WORK)


def is_sign(last: tuple[int, int], found: tuple[int, int]) -> bool:
    """Say whether there is life in what was counted: items, and bytes of the downloads that are
    under way. Fewer bytes say that one has ended.
    """
    return found[0] != last[0] or not last[1] <= found[1] < last[1] + LEAST


# The variables of the environment that libpq reads, whatever a connection string says.
#
# libpq falls back on a `PG…` variable for each parameter that a connection string leaves out. A few
# it reads in any case: a service that is named but not defined is an error, and so is a time zone
# that does not exist.

_OF_LIBPQ: Final = re.compile(r"PG[A-Z]+")
"""All of them have such names (PostgreSQL documentation, libpq, "Environment Variables")."""


def forget_libpq_environment(environ: MutableMapping[str, str] = os.environ) -> None:
    """Remove what libpq reads from the environment of this process. For a program, never for a
    library: the environment is its caller's.
    """
    for name in [name for name in environ if _OF_LIBPQ.fullmatch(name)]:
        del environ[name]


# Room on the disk that is kept for what frees room: on a full disk a database can neither start nor
# remove a row.
#
# The reserve is a file in the home whose blocks are taken. Every engine makes it when there is room
# enough: a disk that is nearly full is left to the store. What frees space gives the reserve up
# first, and afterwards takes what it did not need, or all of it.

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
