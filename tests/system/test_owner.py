"""Root runs commands in the home of another user: what is made there belongs to that user."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.system.command import REPOSITORY, CommandLine
from tests.system.publishing import numbered, publish
from tests.upstream.server import Upstream

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root works in the homes of others")

OWNER, GROUP = 54321, 54320
ENGINE = """
import asyncio, sys
import flowsync

async def main():
    try:
        async with flowsync.Engine(sys.argv[1]):
            pass
    except flowsync.errors.StoreError as error:
        print(error)

asyncio.run(main())
"""


@pytest.fixture
def owned(tmp_path: Path) -> Path:
    """Give the folder of a user in which a home can be made."""
    folder = tmp_path / "owned"
    folder.mkdir(mode=0o700)
    os.chown(folder, OWNER, GROUP)
    return folder


def strangers(folder: Path) -> list[Path]:
    """Return what lies in the folder and does not belong to its user."""
    found = [folder, *folder.rglob("*")]
    return [path for path in found if (path.lstat().st_uid, path.lstat().st_gid) != (OWNER, GROUP)]


@pytest.mark.parametrize("workers", [0, 1], ids=["alone", "workers"])
def test_commands_of_root_leave_nothing_in_a_home_that_its_user_cannot_write(
    tmp_path: Path, owned: Path, upstream: Upstream, workers: int
) -> None:
    flowsync = CommandLine(tmp_path, database_url=None, home=owned / "deep" / "home")
    url = publish(upstream, numbered(1500))
    flowsync.configure(f"workers = {workers}\n", {"files": {"url": url}})

    done = [
        flowsync.run(*command)
        for command in (
            ("sync",),
            ("export", "files", str(owned / "export")),
            ("export", "files", str(tmp_path / "elsewhere")),
            ("verify",),
            ("prune", "--yes"),
            ("status",),
        )
    ]

    assert [(one.status, one.complaints) for one in done] == [(0, [])] * 6
    assert len(list((flowsync.home / "store" / "blake3").rglob("*"))) > 1500
    assert strangers(owned) == []


def test_home_of_root_stays_roots(tmp_path: Path) -> None:
    flowsync = CommandLine(tmp_path, database_url=None)

    assert flowsync.run("status").status == 0

    assert {path.stat().st_uid for path in (flowsync.home, flowsync.home / "store")} == {0}


def test_engine_of_root_refuses_the_home_of_another_user(owned: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ENGINE, str(owned / "home")],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )

    assert f"home {owned}/home belongs to user {OWNER} and this process runs as root" in done.stdout
    assert list(owned.iterdir()) == []


def test_command_of_a_root_that_cannot_become_the_owner_names_what_is_wrong(
    tmp_path: Path, owned: Path
) -> None:
    prefix = ["setpriv", "--bounding-set=-setuid", "--"]
    if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("root cannot give up its rights here")
    flowsync = CommandLine(tmp_path, database_url=None, home=owned / "home", prefix=prefix)

    done = flowsync.run("status")

    assert done.status == 1
    (complaint,) = done.complaints
    assert f"belongs to user {OWNER}" in complaint
    assert list(owned.iterdir()) == []
