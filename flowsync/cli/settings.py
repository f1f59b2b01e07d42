"""The settings of one command, and what the program owes them: the identity of the home's owner, an
environment of its own.
"""

import os
from collections.abc import MutableMapping

from flowsync.cli.owner import become_owner
from flowsync.cli.place import GlobalOptions
from flowsync.configuration import Configuration, read_configuration
from flowsync.engine.libpq_environment import forget_libpq_environment


def load(place: GlobalOptions, environ: MutableMapping[str, str] = os.environ) -> Configuration:
    """Put the options over the settings of file and environment. Raise `SettingsError` that names
    file and field.

    Root becomes the owner of the home first (`owner.py`).
    """
    configuration = read_configuration(
        home=place.home, config=place.config, database_url=place.database_url, environ=environ
    )
    become_owner(configuration.home)
    if configuration.database_url is None:
        # The environment is this program's own, and only a server of the user's is looked up in it.
        forget_libpq_environment(environ)
    return configuration
