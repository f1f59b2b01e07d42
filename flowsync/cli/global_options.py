"""Where flowsync keeps its things, as the options and the environment say it. Light, because
`--help` waits for it.

The settings of one command, and what the program owes them: the identity of the home's owner, an
environment of its own.
"""

import os
from collections.abc import MutableMapping

import msgspec

from flowsync.cli.outcome import become_owner
from flowsync.configuration import Configuration, read_configuration
from flowsync.engine.home import forget_libpq_environment


class GlobalOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The options before the name of a command; `None` leaves the choice to `flowsync.toml` and the
    defaults.
    """

    home: str | None = None
    config: str | None = None
    database_url: str | None = None


def load(place: GlobalOptions, environ: MutableMapping[str, str] = os.environ) -> Configuration:
    """Put the options over the settings of file and environment. Raise `SettingsError` that names
    file and field.

    Root becomes the owner of the home first (`outcome.py`).
    """
    configuration = read_configuration(
        home=place.home, config=place.config, database_url=place.database_url, environ=environ
    )
    become_owner(configuration.home)
    if configuration.database_url is None:
        # The environment is this program's own, and only a server of the user's is looked up in it.
        forget_libpq_environment(environ)
    return configuration
