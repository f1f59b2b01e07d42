"""A large file whose sync, or whose server, is killed in the middle of it: the next transfer, of
either, asks for the rest only.
"""

import os
import signal
import socket
from contextlib import closing
from pathlib import Path

import pytest

from tests.system.command import CommandLine
from tests.system.publishing import publish
from tests.system.records import expect_whole, wait_for_bytes
from tests.system.test_serve import read, serving
from tests.upstream.behaviours import Hang
from tests.upstream.server import Upstream

MIB = 1 << 20
BODY = os.urandom(MIB) * 12


@pytest.mark.parametrize("workers", [0, 1])
def test_after_a_kill_only_the_rest_of_a_large_file_is_fetched(
    flowsync: CommandLine, upstream: Upstream, conninfo: str, workers: int
) -> None:
    url = publish(upstream, {"large": BODY})
    flowsync.configure(f"workers = {workers}\n", {"files": {"url": url}})
    upstream.script("/large", Hang(after=8 * MIB))
    running = flowsync.start("sync")
    kept = wait_for_bytes(flowsync.home / "store" / "staging" / "partial", 6 * MIB)

    running.stop(signal.SIGKILL)
    there = kept.stat().st_size
    again = flowsync.run("sync", "--json")

    assert again.objects[0]["version"] == 1
    first, second = upstream.requests("/large")
    assert second.headers["range"] == f"bytes={there}-"
    assert (first.sent, second.sent) == (8 * MIB, len(BODY) - there)
    expect_whole(conninfo, flowsync.home)


def partial_folder(flowsync: CommandLine) -> Path:
    return flowsync.home / "store" / "staging" / "partial"


def test_after_a_kill_of_the_server_a_sync_fetches_only_the_rest(
    flowsync: CommandLine, upstream: Upstream, conninfo: str
) -> None:
    url = publish(upstream, {"large": BODY})
    on_demand = {"url": url, "policy": "on_demand"}
    flowsync.configure("", {"files": on_demand, "copy": {"url": url}})
    flowsync.run("sync", "files")
    upstream.script("/large", Hang(after=8 * MIB))
    running, served = serving(flowsync)
    port = int(served.rstrip("/").rpartition(":")[2])
    with closing(socket.create_connection(("127.0.0.1", port), timeout=20)) as client:
        client.sendall(b"GET /files/large HTTP/1.1\r\nHost: h\r\n\r\n")
        kept = wait_for_bytes(partial_folder(flowsync), 6 * MIB)
        running.stop(signal.SIGKILL)

    there = kept.stat().st_size
    again = flowsync.run("sync", "copy", "--json")

    assert again.objects[0]["version"] == 1
    first, second = upstream.requests("/large")
    assert second.headers["range"] == f"bytes={there}-"
    assert (first.sent, second.sent) == (8 * MIB, len(BODY) - there)
    expect_whole(conninfo, flowsync.home)


def test_after_a_kill_of_a_sync_the_server_fetches_only_the_rest(
    flowsync: CommandLine, upstream: Upstream, conninfo: str
) -> None:
    url = publish(upstream, {"large": BODY})
    on_demand = {"url": url, "policy": "on_demand"}
    flowsync.configure("", {"files": on_demand, "copy": {"url": url}})
    flowsync.run("sync", "files")
    upstream.script("/large", Hang(after=8 * MIB))
    syncing = flowsync.start("sync", "copy")
    kept = wait_for_bytes(partial_folder(flowsync), 6 * MIB)
    syncing.stop(signal.SIGKILL)
    there = kept.stat().st_size
    running, served = serving(flowsync)

    body = read(f"{served}files/large")
    running.stop(signal.SIGTERM)

    assert body == BODY
    assert upstream.requests("/large")[1].headers["range"] == f"bytes={there}-"
    expect_whole(conninfo, flowsync.home)
