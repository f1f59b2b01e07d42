"""The home: the folder where flowsync keeps its store and its embedded database.

1. What is made in a home belongs to the owner of the home; a home that does not exist yet belongs
   to the owner of the folder in which it is made. So root, who may write everywhere, leaves nothing
   that the owner cannot write: a program becomes the owner (`owner_to_become`), an engine of root's
   refuses the home of another user.
2. Its path is valid UTF-8, because paths stand in results and cross to worker processes.
"""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from flowsync.errors import SettingsError, StoreUnwritableError


def absolute(path: str | os.PathLike[str], what: str) -> Path:
    """Return the path as an absolute one. Raise `SettingsError` when it is relative and the working
    directory was removed.
    """
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
