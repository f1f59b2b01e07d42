"""The variables of the environment that libpq reads, whatever a connection string says.

libpq falls back on a `PG*` variable for each parameter that a connection string leaves out. A few it reads in any case: a service that is
named but not defined is an error, and so is a time zone that does not exist.
"""

import os
from collections.abc import MutableMapping
from typing import Final

from psycopg.pq import Conninfo

_IN_ANY_CASE: Final = ("PGSERVICEFILE", "PGSYSCONFDIR", "PGTZ", "PGDATESTYLE", "PGGEQO")


def forget_libpq_environment(environ: MutableMapping[str, str] = os.environ) -> None:
    """Remove what libpq reads from the environment of this process. For a program, never for a library: the environment is its caller's."""
    named = (option.envvar for option in Conninfo.get_defaults())
    for name in (*_IN_ANY_CASE, *(variable.decode() for variable in named if variable)):
        environ.pop(name, None)
