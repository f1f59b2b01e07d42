"""The demo, shortened: it may be played twice in a row, and again after it was killed."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.embedded_postgres.processes import servers_of
from tests.system.command import REPOSITORY, Running
from tests.system.records import wait_for_file

DEMO = [sys.executable, str(REPOSITORY / "scripts" / "demo.py"), "--files", "200", "--folder"]


def start(folder: Path) -> Running:
    process = subprocess.Popen(
        [*DEMO, str(folder)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    return Running(process)


@pytest.mark.timeout(300)
def test_the_demo_can_be_killed_and_then_played_twice(tmp_path: Path) -> None:
    killed = start(tmp_path / "demo")
    wait_for_file(tmp_path / "demo" / "home" / "database" / "pg18" / "postmaster.pid")
    killed.stop(signal.SIGKILL)

    for _ in range(2):
        played = start(tmp_path / "demo").wait(timeout=120)

        assert played.status == 0
        assert "python: version 1: 200 added, 0 removed, 200 units present" in played.out
        assert "python: upstream is unchanged, skipped; 200 units present" in played.out
        assert "python: no change, no version; 200 units present" in played.out
        assert "python: version 2: 60 added, 40 removed, 220 units present" in played.out
        assert "40 added, 20 removed, 20 changed from version 1 to 2 of python" in played.out
        assert "0 differences in 220 files" in played.out
        assert "debian: version 1: " in played.out
        assert "packages: version 1: 4 added" in played.out
        assert "Successfully installed hello" in played.out
        assert shutil.which("apt-get") is None or "\nhello 1.0\n" in played.out
        assert servers_of(tmp_path) == []
