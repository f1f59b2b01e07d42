"""The database server is killed under a running sync: an error that says so, and the next run
completes.
"""

import os
import signal
from pathlib import Path

import pytest

from tests.integration.embedded_postgres.processes import servers_of
from tests.system.command import CommandLine
from tests.system.publishing import numbered, publish
from tests.system.records import staged
from tests.upstream.behaviours import Hold
from tests.upstream.server import Upstream


@pytest.mark.parametrize("workers", [0, 1])
def test_killed_server_fails_the_sync_clearly_and_the_next_one_completes(
    tmp_path: Path, upstream: Upstream, workers: int
) -> None:
    flowsync = CommandLine(tmp_path, database_url=None)
    url = publish(upstream, numbered(300))
    flowsync.configure(f"workers = {workers}\n", {"files": {"url": url}})
    upstream.always("/files/0200.txt", Hold())
    running = flowsync.start("sync")
    # The file that is held and those before it: batches before it are in the catalog, and it cannot
    # be over.
    upstream.wait_for(200, timeout=40)

    (server,) = servers_of(flowsync.home)
    os.kill(server, signal.SIGKILL)
    upstream.release()
    failed = running.wait()
    again = flowsync.run("sync", "--json")

    assert failed.status == 1
    (complaint,) = failed.complaints
    assert "database 'postgres' at" in complaint
    assert "connection" in complaint
    (result,) = again.objects
    assert (result["version"], result["added"]) == (1, 300)
    assert servers_of(flowsync.home) == []
    assert staged(flowsync.home) == []
