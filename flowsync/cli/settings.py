"""What the options, the environment and `flowsync.toml` say together, in this order of
precedence.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

import flowsync
from flowsync.cli.owner import become_owner
from flowsync.cli.place import GlobalOptions
from flowsync.cli.settings_file import SettingsFile, expect_expanded, read_settings_file
from flowsync.engine.home import absolute, default_home
from flowsync.engine.libpq_environment import forget_libpq_environment
from flowsync.errors import SettingsError

FILE_NAME = "flowsync.toml"


class Configuration(msgspec.Struct, frozen=True, kw_only=True):
    """Settings and options put together. `home` is absolute."""

    home: Path
    database_url: str | None
    file: SettingsFile

    def engine(
        self, workers: int | None = None, *, spends_reserve: bool = False
    ) -> "flowsync.Engine":
        """Return an engine with these settings, not yet open.

        `workers` replaces that of the file, unless it is `None`. `spends_reserve` is for commands
        that free space.
        """
        if self.database_url is None:
            # The environment is this program's own, and only a server of the user's is looked up in
            # it.
            forget_libpq_environment()
        settings = self.file.settings
        roots = settings.allowed_roots
        limits: dict[str, Any] = {
            "workers": settings.workers if workers is None else workers,
            "in_flight_bytes": settings.in_flight_bytes,
            "in_flight_items": settings.in_flight_items,
            "syncs_at_once": settings.syncs_at_once,
        }
        return flowsync.Engine(
            self.home,
            database_url=self.database_url,
            hash_workers=settings.hash_workers,
            max_connections=settings.max_connections,
            allowed_roots=None if roots is None else [self.file.resolved(root) for root in roots],
            spends_reserve=spends_reserve,
            **{name: limit for name, limit in limits.items() if limit is not None},
        )


def load(place: GlobalOptions, environ: Mapping[str, str] = os.environ) -> Configuration:
    """Read the settings file, if there is one, and put the options over it. Raise `SettingsError`
    that names file and field.

    Root becomes the owner of the home first (`owner.py`).
    """
    given_home = absolute(os.path.expanduser(place.home), "home") if place.home else None
    path = _named_file(place.config) if place.config else _found_file(given_home, environ)
    file = SettingsFile() if path is None else read_settings_file(path, environ)
    named_home, database_url = file.settings.home, file.settings.database_url
    expect_expanded(file.settings.allowed_roots, f"{path}")
    if given_home is None and named_home is not None:
        expect_expanded(named_home, f"{path}")
        given_home = file.resolved(named_home)
    if place.database_url is None:
        expect_expanded(database_url, f"{path}")
    home = given_home or default_home(environ)
    become_owner(home)
    return Configuration(
        home=home,
        database_url=place.database_url or database_url,
        file=file,
    )


def _named_file(config: str) -> Path:
    path = absolute(os.path.expanduser(config), "settings file")
    if not os.path.isfile(path):
        raise SettingsError(f"there is no settings file {path}")
    return path


def _found_file(given_home: Path | None, environ: Mapping[str, str]) -> Path | None:
    # Relative, so that a working directory that was removed has no file, and is no error.
    if os.path.isfile(FILE_NAME):
        return absolute(FILE_NAME, "settings file")
    at_home = (given_home or default_home(environ)) / FILE_NAME
    return at_home if os.path.isfile(at_home) else None
