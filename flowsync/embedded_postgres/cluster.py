"""The clusters of an embedded server: one folder of data for each major version of PostgreSQL.

A cluster is made in a temporary folder beside its place and renamed there when it is complete and
durable: a half-made one is never seen. What a killed maker left is removed by the next. All of this
happens under the lock of the starters.
"""

import os
import shutil
import tempfile
from pathlib import Path

from flowsync.embedded_postgres.binaries import Binaries
from flowsync.embedded_postgres.server_settings import initdb_command
from flowsync.embedded_postgres.system_user import SystemUser
from flowsync.errors import EmbeddedPostgresError

_PREFIX = ".init-"
# The server cuts paths off at 1024 bytes, and those of its files are longer.
_LONGEST_PATH = 900


def cluster_folder(folder: Path, major: int) -> Path:
    """Return where the cluster of a major version lies."""
    return folder / f"pg{major}"


def existing_majors(folder: Path) -> list[int]:
    """Return the major versions that have a complete cluster in the folder, which need not
    exist.
    """
    names = [path.parent.name for path in folder.glob("pg*/PG_VERSION")]
    return [int(name[2:]) for name in names if name[2:].isdecimal()]


def make_folder(folder: Path) -> None:
    """Make the folder that holds everything, unless it exists. Raises `EmbeddedPostgresError` when
    it cannot be made.
    """
    # Root may have to let the server's account pass through; whatever lies in the folder is closed
    # to others by itself.
    mode = 0o711 if os.geteuid() == 0 else 0o700
    if len(os.fsencode(folder)) > _LONGEST_PATH:
        raise EmbeddedPostgresError(
            f"making the folder {folder}",
            f"its path has more than {_LONGEST_PATH} bytes",
            "choose a home with a shorter path",
        )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=mode, exist_ok=True)
    except OSError as error:
        raise EmbeddedPostgresError(
            f"making the folder {folder}", str(error), "choose a home that this user can write"
        ) from error


def make_cluster(cluster: Path, binaries: Binaries, account: SystemUser, deadline: float) -> None:
    """Make the cluster. Raises `EmbeddedPostgresError`, and leaves nothing behind, when that fails
    or takes until the deadline.
    """
    doing = f"making the cluster {cluster}"
    for leftover in cluster.parent.glob(f"{_PREFIX}*"):
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        fresh = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=cluster.parent))
        try:
            maker = account.maker or account
            maker.give(fresh)
            maker.run(doing, initdb_command(binaries.initdb, binaries.major, fresh), deadline)
            if maker.owner != account.owner:
                account.give_whole(fresh)
            fresh.rename(cluster)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
        _make_durable(cluster.parent)
    except OSError as error:
        raise EmbeddedPostgresError(doing, str(error)) from error


def _make_durable(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
