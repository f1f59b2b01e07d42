"""Syncs killed at any instant, one after the other: nothing is lost, nothing half-done is seen, and
no more is fetched again than was in flight.
"""

import os
import signal
import time
from random import Random

from tests.system.command import CommandLine, Running
from tests.system.publishing import publish
from tests.system.records import expect_whole, staged, versions
from tests.upstream.server import Upstream

KILLS = int(os.environ.get("FLOWSYNC_KILLS", "4"))
SEED = int(os.environ.get("FLOWSYNC_SEED", "0"))
"""How many kills, and what the instants and the bodies are drawn from."""

FILES = 300
IN_FLIGHT = 256 << 10
SETTINGS = f"in_flight_bytes = {IN_FLIGHT}\nin_flight_items = 50\n"


def test_killed_syncs_lose_no_more_than_was_in_flight_and_end_in_the_right_version(
    flowsync: CommandLine, upstream: Upstream, conninfo: str
) -> None:
    """The sync is killed with all its processes until one comes to its
    end; then upstream has other files.
    """
    random = Random(SEED)
    kills = generation = payload = 0
    files: dict[str, bytes] = {}
    while kills < KILLS:
        generation += 1
        files = drawn(random, generation)
        url = publish(upstream, files)
        payload += sum(map(len, files.values()))
        workers = generation % 2 * 2
        flowsync.configure(
            f"{SETTINGS}workers = {workers}\n",
            {"files": {"url": url, "mirror": True, "max_removal": 1}},
        )
        while kills < KILLS and not comes_to_its_end(flowsync, upstream, random):
            kills += 1
            expect_whole(conninfo, flowsync.home)
            complete = [number for number, whole in versions(conninfo, "files") if whole]
            # The kill may come when the version is complete already.
            assert complete in (list(range(1, generation)), list(range(1, generation + 1)))

    assert flowsync.run("sync").status == 0

    assert versions(conninfo, "files") == [(number, True) for number in range(1, generation + 1)]
    assert exported(flowsync) == files
    assert fetched(upstream) <= payload + kills * IN_FLIGHT
    expect_whole(conninfo, flowsync.home)
    assert staged(flowsync.home) == []


def drawn(random: Random, generation: int) -> dict[str, bytes]:
    """Return files of which every generation has new ones, and some that stay."""
    fresh = {f"files/{n}": random.randbytes(random.randrange(16 << 10)) for n in range(FILES)}
    return {**fresh, "generation": str(generation).encode(), "same/for/all": b"same"}


def comes_to_its_end(flowsync: CommandLine, upstream: Upstream, random: Random) -> bool:
    """Start a sync and kill it at some instant; say whether it had ended before."""
    running = flowsync.start("sync")
    # Mostly while it downloads; else in its start, or after the last answer, while it saves and
    # completes the version.
    wanted = upstream.count() + random.choice(
        [0, *(random.randrange(FILES) for _ in range(3)), FILES]
    )
    wait_until(running, upstream, wanted)
    time.sleep(random.uniform(0, 0.3))
    if running.process.poll() is None:
        running.signal(signal.SIGKILL)
    return running.wait().status == 0


def wait_until(running: Running, upstream: Upstream, count: int) -> None:
    while running.process.poll() is None and upstream.count() < count:
        time.sleep(0.002)


def fetched(upstream: Upstream) -> int:
    """Return how many bytes of files were sent, whether anybody took them or not."""
    return sum(seen.sent for seen in upstream.requests() if "PULP_MANIFEST" not in seen.target)


def exported(flowsync: CommandLine) -> dict[str, bytes]:
    """Return the files of the newest version, without the record of the export itself."""
    folder = flowsync.folder / "exported"
    assert flowsync.run("export", "files", str(folder)).status == 0
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("[!.]*")
        if path.is_file()
    }
