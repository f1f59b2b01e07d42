"""The settings of one command, and what the program owes them: the identity of the home's owner, an
environment of its own.
"""

import os
import subprocess
import sys
from collections.abc import MutableMapping
from pathlib import Path
from typing import Final

from flowsync.cli.main import GlobalOptions
from flowsync.configuration import Configuration, read_configuration
from flowsync.engine.home import forget_libpq_environment, owner_to_become
from flowsync.runtime import run_as

# The command as the owner of the home: what it makes there belongs to that user, and it may still
# do all that root may.
#
# Root starts the same command again under the other identity, before it has done anything: so
# threads and worker processes have it too. Exports are links into the store where they can be, so
# they belong to the owner as well.

_TRIAL_SECONDS: Final = 30


def load(place: GlobalOptions, environ: MutableMapping[str, str] = os.environ) -> Configuration:
    """Put the options over the settings of file and environment. Raise `SettingsError` that names
    file and field.

    Root becomes the owner of the home first (`become_owner`).
    """
    configuration = read_configuration(
        home=place.home, config=place.config, database_url=place.database_url, environ=environ
    )
    become_owner(configuration.home)
    if configuration.database_url is None:
        # The environment is this program's own, and only a server of the user's is looked up in it.
        forget_libpq_environment(environ)
    return configuration


def become_owner(home: Path) -> None:
    """Turn into the same command as the owner of the home, when root runs it and the home is
    another user's.

    Return when there is nothing to do, and where the kernel does not let root do that; the engine
    says then what is wrong.
    """
    owner = owner_to_become(home)
    if owner is None or not sys.orig_argv:
        return
    start = [sys.executable, "-I", "-S", run_as.__file__, f"account:{owner[0]}:{owner[1]}+all", ""]
    if _works(start):
        sys.stdout.flush()
        sys.stderr.flush()
        os.execv(sys.executable, [*start, sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - no shell is meant


def _works(start: list[str]) -> bool:
    try:
        tried = subprocess.run(
            [*start, sys.executable, "-I", "-S", "-c", ""],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=_TRIAL_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return tried.returncode == 0
