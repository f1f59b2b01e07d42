"""What a database and a store hold, read without flowsync: the truth that tests of failures compare
with.
"""

import hashlib
import time
from pathlib import Path
from typing import LiteralString

import blake3
import psycopg


def versions(conninfo: str, repository: str) -> list[tuple[int, bool]]:
    """Return number and completeness of every version of a repository, the empty version 0 left
    out.
    """
    with psycopg.connect(conninfo) as connection:
        rows = connection.execute(
            "SELECT number, complete FROM repository_version v JOIN repository r ON r.id = "
            "v.repository_id "
            "WHERE r.name = %s AND number > 0 ORDER BY number",
            (repository,),
        ).fetchall()
    return [(number, complete) for number, complete in rows]


def recorded_artifacts(conninfo: str) -> int:
    """Return how many artifacts the catalog records."""
    with psycopg.connect(conninfo) as connection:
        ((count,),) = connection.execute("SELECT count(*) FROM artifact").fetchall()
    return int(count)


def expect_whole(conninfo: str, home: Path) -> None:
    """Fail unless every recorded artifact has its file with the recorded size and digests, and
    every file has its name's digest.
    """
    store = home / "store" / "blake3"
    with psycopg.connect(conninfo) as connection:
        rows = connection.execute("SELECT blake3, sha256, size FROM artifact").fetchall()
    found = {path.name: path.read_bytes() for path in store.glob("*/*")}
    for name, body in found.items():
        assert blake3.blake3(body).hexdigest() == name
    for name, sha256, size in rows:
        body = found[name.hex()]
        assert (hashlib.sha256(body).digest(), len(body)) == (sha256, size)


def staged(home: Path) -> list[str]:
    """Return what lies in the staging folders of the store: nothing, after a run that ended
    well.
    """
    return sorted(str(path.relative_to(home)) for path in (home / "store" / "staging").rglob("*"))


def wait_for_artifacts(conninfo: str, count: int, within: float = 30.0) -> None:
    """Wait until the catalog records so many artifacts."""
    _wait_for("SELECT count(*) >= %s FROM artifact", count, conninfo, within)


def wait_for_waiters(conninfo: str, count: int, within: float = 20.0) -> None:
    """Wait until so many sessions wait for an advisory lock: syncs of a repository that another one
    holds.
    """
    _wait_for(
        "SELECT count(*) >= %s FROM pg_locks WHERE locktype = 'advisory' AND NOT granted "
        "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        count,
        conninfo,
        within,
    )


def wait_for_file(path: Path, within: float = 20.0) -> None:
    """Wait until somebody makes the file."""
    deadline = time.monotonic() + within
    while not path.exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"no {path} within {within} s")
        time.sleep(0.005)


def wait_for_bytes(folder: Path, size: int, within: float = 20.0) -> Path:
    """Wait until a file in the folder has at least so many bytes, and return it."""
    deadline = time.monotonic() + within
    while not (found := [path for path in folder.glob("*") if path.stat().st_size >= size]):
        if time.monotonic() > deadline:
            raise TimeoutError(f"no file of {size} bytes in {folder} within {within} s")
        time.sleep(0.005)
    return found[0]


def _wait_for(question: LiteralString, count: int, conninfo: str, within: float) -> None:
    deadline = time.monotonic() + within
    with psycopg.connect(conninfo, autocommit=True) as connection:
        while connection.execute(question, (count,)).fetchone() != (True,):
            if time.monotonic() > deadline:
                raise TimeoutError(f"not {count} within {within} s: {question}")
            time.sleep(0.02)
