"""The exchange of two folders, so that nobody ever sees a half of either.

`renameat2(RENAME_EXCHANGE)` does it in one atomic step. A file system, or a sandbox, that cannot
(network file systems, mostly) gets three renames; for an instant between them the name is free, and
a process killed just then leaves it free, with both folders beside it.
"""

import errno
import os
from typing import Final

from flowsync.store import kernel

_UNKNOWN: Final = frozenset({errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM})


def exchange(one: str, other: str, aside: str) -> None:
    """Swap two existing folders of one file system; `aside` is a free name on it for the
    way round.
    """
    try:
        kernel.exchange(one, other)
    except OSError as error:
        if error.errno not in _UNKNOWN:
            raise
        exchange_by_renames(one, other, aside)


def exchange_by_renames(one: str, other: str, aside: str) -> None:
    """Swap two folders by renames; when the second rename fails, the first is taken back."""
    os.rename(other, aside)
    try:
        os.rename(one, other)
    except OSError:
        os.rename(aside, other)
        raise
    os.rename(aside, one)
