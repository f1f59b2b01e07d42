"""The variables of the environment that libpq reads, whatever a connection string says.

libpq falls back on a `PG…` variable for each parameter that a connection string leaves out. A few
it reads in any case: a service that is named but not defined is an error, and so is a time zone
that does not exist.
"""

import os
import re
from collections.abc import MutableMapping
from typing import Final

_OF_LIBPQ: Final = re.compile(r"PG[A-Z]+")
"""All of them have such names (PostgreSQL documentation, libpq, "Environment Variables")."""


def forget_libpq_environment(environ: MutableMapping[str, str] = os.environ) -> None:
    """Remove what libpq reads from the environment of this process. For a program, never for a
    library: the environment is its caller's.
    """
    for name in [name for name in environ if _OF_LIBPQ.fullmatch(name)]:
        del environ[name]
