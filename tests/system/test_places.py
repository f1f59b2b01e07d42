"""Homes whose paths hold what libpq, PostgreSQL or an encoding could take for something else."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.system.command import CommandLine
from tests.system.publishing import publish
from tests.upstream.server import Upstream


@pytest.mark.parametrize(
    "name", ["me@example.org", "@", "100%", 'it\'s, "so": \\', "new\nline", "ü", "l" * 120]
)
def test_home_of_any_name_takes_a_sync(tmp_path: Path, upstream: Upstream, name: str) -> None:
    flowsync = CommandLine(tmp_path, database_url=None, home=tmp_path / name / "home")
    flowsync.configure(repositories={"files": {"url": publish(upstream, {"a": b"a"})}})

    synced = flowsync.run("sync")
    exported = flowsync.run("export", "files", str(tmp_path / name / "export"))

    assert (synced.status, synced.complaints) == (0, [])
    assert (exported.status, exported.complaints) == (0, [])
    assert (tmp_path / name / "export" / "a").read_bytes() == b"a"


def test_home_that_is_no_utf8_is_one_clear_error_at_once(tmp_path: Path) -> None:
    home = os.fsencode(tmp_path) + b"/h\xff\xfe"
    command: list[str | bytes] = [sys.executable, "-m", "flowsync", "--home", home, "status"]

    done = subprocess.run(command, capture_output=True, check=False, timeout=10)

    assert (done.returncode, done.stdout) == (2, b"")
    (line,) = done.stderr.splitlines()
    assert b"is not valid UTF-8" in line
    assert b"h\\udcff\\udcfe" in line
    assert not os.path.exists(home)


def test_variables_of_libpq_do_not_reach_the_embedded_server(tmp_path: Path) -> None:
    flowsync = CommandLine(tmp_path, database_url=None)

    done = flowsync.run(
        "status",
        env={
            "PGOPTIONS": "-c statement_timeout=1",
            "PGSERVICE": "nowhere",
            "PGHOST": "192.0.2.1",
            "PGSSLMODE": "verify-full",
            "PGTZ": "nonsense",
            "PGTARGETSESSIONATTRS": "standby",
        },
    )

    assert (done.status, done.complaints) == (0, [])
    assert done.seconds < 20
