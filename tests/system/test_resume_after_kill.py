"""A large file whose sync is killed in the middle of it: the next sync asks for the rest only."""

import os
import signal

import pytest

from tests.system.command import CommandLine
from tests.system.publishing import publish
from tests.system.records import expect_whole, wait_for_bytes
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
