"""The store's lock between processes."""

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from flowsync.store import LocalBlobStore

HOLDER = """
import asyncio, sys
from pathlib import Path
from flowsync.store.local.store import Guard

async def main():
    async with getattr(Guard(sys.argv[1]), sys.argv[2])():
        print("inside", flush=True)
        sys.stdin.read()

asyncio.run(main())
"""


@pytest.mark.parametrize("kind", ["storing", "removing"])
async def test_lock_of_another_process_counts_until_it_is_killed(tmp_path: Path, kind: str) -> None:
    async with LocalBlobStore(tmp_path) as store:
        holder = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(tmp_path), kind],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        with holder:
            assert holder.stdout is not None
            await asyncio.to_thread(holder.stdout.readline)
            waiting = asyncio.create_task(_remove(store))
            done, _ = await asyncio.wait([waiting], timeout=0.2)
            assert done == set()
            holder.send_signal(signal.SIGKILL)
            async with asyncio.timeout(10):
                await waiting


async def _remove(store: LocalBlobStore) -> None:
    async with store.removing():
        pass
