"""kill -9 while batches are persisted."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import blake3
import pytest

from flowsync.store import LocalBlobStore

REPOSITORY = Path(__file__).parents[3]


def kill_while_persisting(root: Path) -> set[str]:
    """Let two processes persist, kill both at a random instant, and return the names that they had
    reported.
    """
    command = [sys.executable, "-m", "tests.integration.store.persisting", str(root)]
    processes = [
        subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    lines = [process.stdout.readline() for process in processes if process.stdout is not None]
    # Not a wait for something: the instant of the kill is the input of this test.
    time.sleep(random.random() * 0.05)
    for process in processes:
        process.kill()
    for process in processes:
        rest, _ = process.communicate()
        # The last line may have been cut.
        lines += [line for line in rest.splitlines(keepends=True) if line.endswith("\n")]
    return {name for line in lines for name in line.split()}


@pytest.mark.parametrize("attempt", range(6))
async def test_every_blob_that_is_seen_after_a_kill_is_whole(tmp_path, attempt):
    reported = kill_while_persisting(tmp_path)

    async with LocalBlobStore(tmp_path) as store:
        found = {path.name: path.read_bytes() for path in (tmp_path / "blake3").glob("*/*")}
        assert len(os.listdir(tmp_path / "staging")) == 2  # our own folder and its lock
        assert await store.missing(sorted(reported)) == set()

    assert len(reported) >= 20
    assert {name: blake3.blake3(body).hexdigest() for name, body in found.items()} == {
        name: name for name in found
    }
