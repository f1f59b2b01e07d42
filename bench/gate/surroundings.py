"""Where both sides are measured: temporary files in memory where that is possible, and one
PostgreSQL for all runs.

A disk is shared with whoever else writes to it, and no number of rounds takes that out of a figure;
what the code does to it is the same in memory. What a disk really costs is for `make bench` to
show.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from flowsync.embedded_postgres.server import EmbeddedPostgres

DATABASE: Final = "FLOWSYNC_TEST_DATABASE_URL"

_MEMORY: Final = Path("/dev/shm")  # noqa: S108 -- what is made in it has a private folder of its own
_ENOUGH: Final = 4 << 30


@contextmanager
def surroundings() -> Iterator[Mapping[str, str]]:
    """Give the environment variables of all runs. A database server that the environment names is
    used; otherwise one is started and thrown away.
    """
    with tempfile.TemporaryDirectory(prefix="flowsync-gate-", dir=_memory()) as scratch:
        given = os.environ.get(DATABASE)
        if given:
            yield {"TMPDIR": scratch, DATABASE: given}
            return
        server = EmbeddedPostgres(Path(scratch, "postgres"))
        server.start()
        try:
            yield {"TMPDIR": scratch, DATABASE: server.conninfo()}
        finally:
            server.stop()


def _memory() -> Path | None:
    """Return the folder of files in memory, `None` where it has no room."""
    if not os.access(_MEMORY, os.W_OK) or shutil.disk_usage(_MEMORY).free < _ENOUGH:
        return None
    return _MEMORY
