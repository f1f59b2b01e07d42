"""How many files this process may have open, sockets and pipes among them."""

import resource
from typing import Final

_ENOUGH: Final = 1 << 20
"""What a process asks for at most: where the system sets no limit, some programs count up to it."""


def raise_limit() -> int:
    """Raise the soft limit of open files as far as the hard one lets it, and return it. For a
    program's start: libraries leave it alone.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _ENOUGH if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError):
            # Some systems allow less than the hard limit says.
            return limit()
    return limit()


def limit() -> int:
    """Return how many files may be open at once."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _ENOUGH if soft == resource.RLIM_INFINITY else soft
