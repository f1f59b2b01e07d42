"""The home: the folder where flowsync keeps its store and its embedded database."""

import os
from collections.abc import Mapping
from pathlib import Path

from flowsync.model.errors import SettingsError, StoreUnwritableError


def absolute(path: str | os.PathLike[str], what: str) -> Path:
    """Return the path as an absolute one. Raise `SettingsError` when it is relative and the working directory was removed."""
    try:
        return Path(path).absolute()
    except FileNotFoundError as error:
        raise SettingsError(
            f"the {what} {os.fspath(path)!r} is relative, and the working directory does not exist any more"
        ) from error


def default_home(environ: Mapping[str, str]) -> Path:
    """Return the home for those who name none: `flowsync` in the user's data folder. Raise `SettingsError` when the user has none."""
    data = environ.get("XDG_DATA_HOME", "")
    if os.path.isabs(data):
        return Path(data) / "flowsync"
    try:
        return Path.home() / ".local" / "share" / "flowsync"
    except RuntimeError as error:
        raise SettingsError(
            "this user has no home folder to keep flowsync's home in; name one with --home or FLOWSYNC_HOME"
        ) from error


def make_home(home: Path) -> None:
    """Create the folder unless it exists. Raise `StoreUnwritableError` when that cannot be done, or nothing can be written there."""
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreUnwritableError(
            f"cannot create flowsync's home {home}: {error.strerror}; "
            "choose another one with --home or FLOWSYNC_HOME"
        ) from error
    if not os.access(home, os.W_OK | os.X_OK):
        raise StoreUnwritableError(
            f"flowsync's home {home} is not writable; choose another one with --home or FLOWSYNC_HOME"
        )
