"""Syncs of a Debian archive that are killed while the mirror's own lists are made: nothing of them
is seen, and the next sync makes what an undisturbed one would.
"""

import os
import signal
import time
from pathlib import Path
from random import Random

import pytest

from flowsync.packages.openpgp import SigningKey
from scripts.debian_archive import Package, package, write_archive
from tests.system.command import CommandLine
from tests.system.records import expect_whole, staged, versions
from tests.upstream.server import Upstream

pysequoia = pytest.importorskip("pysequoia")

KILLS = int(os.environ.get("FLOWSYNC_KILLS", "4"))
SEED = int(os.environ.get("FLOWSYNC_SEED", "0"))
"""How many kills, and what the instants are drawn from."""

LIST = "/dists/one/InRelease"
LISTED = 4000


def test_a_killed_rendering_leaves_nothing_that_is_seen(
    flowsync: CommandLine, upstream: Upstream, tmp_path: Path, conninfo: str
) -> None:
    random = Random(SEED)
    configure(flowsync, upstream, tmp_path)
    for _ in range(KILLS):
        before = upstream.count(LIST)
        running = flowsync.start("sync", "debian", "--force")
        # What follows is reading, declaring, and making lists.
        upstream.wait_for(before + 1, LIST)
        time.sleep(random.uniform(0.1, 1.5))
        if running.process.poll() is None:
            running.signal(signal.SIGKILL)
        running.wait()
        expect_whole(conninfo, flowsync.home)
        assert [each for each in versions(conninfo, "debian") if each[1]] in ([], [(1, True)])

    done = flowsync.run("sync", "debian", "other", "--json")

    assert done.status == 0, done.err
    assert staged(flowsync.home) == []
    roots = [
        flowsync.run("versions", name, "--json").objects[-1]["root"] for name in ("debian", "other")
    ]
    assert roots[0] == roots[1] is not None
    expect_whole(conninfo, flowsync.home)


def configure(flowsync: CommandLine, upstream: Upstream, folder: Path) -> None:
    """Write an archive of many packages that have one body, and two mirrors of it."""
    key = pysequoia.Tsk.generate("Archive <archive@example.org>")
    (folder / "archive.asc").write_text(str(key.extract_certificate()))
    own = pysequoia.Tsk.generate("Mirror <mirror@example.org>")
    (folder / "mirror.key").write_text(str(own))
    one = package("alpha")
    packages = [
        Package(f"pool/main/{number}.deb", one.body, {**one.fields, "Package": f"package-{number}"})
        for number in range(LISTED)
    ]
    write_archive(folder / "archive", "one", {"main": packages}, SigningKey(key), by_hash=False)
    url = upstream.serve(folder / "archive")
    options = {
        "suites": ["one"],
        "keyring": "archive.asc",
        "sections": ["misc"],
        "sign": "mirror.key",
    }
    mirror = {"source": "deb", "url": url, "mirror": True, "policy": "on_demand"}
    flowsync.configure(
        repositories={name: {**mirror, "options": options} for name in ("debian", "other")}
    )
