"""The memory of all that is done with a version, as the number of its units grows: it stays flat,
and under a limit.
"""

import os
import sys
from pathlib import Path
from typing import Final

import psycopg
import pytest

from tests.system import limited
from tests.system.command import CommandLine, Done
from tests.system.mass import publish_units
from tests.upstream.server import Upstream

_UNITS: Final = int(os.environ.get("FLOWSYNC_UNITS", "20000"))
_SOAKS: Final = _UNITS > 100_000
_FEW: Final = 10_000
"""Units of the mirror to compare with: enough to fill the queues of every stage."""

_LIMIT: Final = 256 << 20
"""Bytes that a process may allocate, and that may be resident at its peak."""

_FLAT: Final = 24 << 20
"""Bytes by which a peak may differ between two runs of the same command: how full queues and
batches become hangs on what else the machine does.
"""


class Mirror:
    """A mirror of so many units, and the peak of memory of each command that was run on it, in
    bytes.
    """

    def __init__(self, flowsync: CommandLine, upstream: Upstream, units: int) -> None:
        self.peaks: dict[str, int] = {}
        self.name = f"mirror-{units}"
        self.units = units
        self._upstream = upstream
        self._report = flowsync.folder / "peak"
        self._flowsync = CommandLine(
            flowsync.folder,
            database_url=flowsync.environment["FLOWSYNC_DATABASE_URL"],
            home=flowsync.home,
            prefix=[sys.executable, limited.__file__, str(_LIMIT), str(self._report)],
        )

    def publish(self, generation: int = 0) -> str:
        """Publish the units and return the manifest's URL."""
        return publish_units(self._upstream, f"/{self.name}", self.units, generation)

    def run(self, what: str, *arguments: str, status: int = 0) -> Done:
        """Run a command that must end with `status`, and note its peak as that of `what`."""
        done = self._flowsync.start(*arguments).wait(timeout=3600)
        assert done.status == status, (what, done.status, done.err[-2000:])
        self.peaks[what] = int(self._report.read_text())
        print(
            f"{self.units:9,} {what:15} {self.peaks[what] / 2**20:6.1f} MiB {done.seconds:7.1f} s"
        )
        return done


@pytest.mark.timeout(7200)
def test_memory_stays_flat_whatever_the_number_of_units(
    flowsync: CommandLine, upstream: Upstream, conninfo: str
) -> None:
    few, many = (Mirror(flowsync, upstream, units) for units in (_FEW, _UNITS))
    for mirror in (few, many):
        _live(mirror, flowsync.folder)
        _leave_garbage(conninfo, mirror)

    assert max(many.peaks.values()) < _LIMIT
    grown = {what: peak - few.peaks[what] for what, peak in many.peaks.items()}
    assert {what: growth for what, growth in grown.items() if growth > _FLAT} == {}


def _live(mirror: Mirror, folder: Path) -> None:
    """Do with a mirror whatever walks its units; in a soak, everything."""
    sync = ("file", mirror.publish(), "-r", mirror.name, "--mirror", "--json")
    on_demand = ("sync", *sync, "--policy", "on_demand")
    mirror.run("first sync", *on_demand)
    if _SOAKS:
        mirror.run("forced sync", *on_demand, "--force")
    mirror.publish(generation=1)
    if _SOAKS:
        mirror.run("plan", "plan", *sync, "--policy", "on_demand")
        mirror.run("changed sync", *on_demand)
        mirror.run("show", "show", mirror.name, "--json")
    mirror.run("immediate sync", "sync", *sync)
    mirror.run("diff", "diff", mirror.name, "1", "2", "--json")
    mirror.run("export", "export", mirror.name, str(folder / mirror.name))
    if _SOAKS:
        mirror.run("reclaim", "reclaim", mirror.name, "--yes")
        mirror.run("delete", "delete", mirror.name, "1")


def _leave_garbage(conninfo: str, mirror: Mirror) -> None:
    """Find as many artifacts damaged as the mirror has units, then remove them and all the units,
    which nothing needs.
    """
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute(_PLANT, {"count": mirror.units})
        mirror.run("verify", "verify", "--json", status=3)
        connection.execute("DELETE FROM repository")
        mirror.run("prune", "prune", "--older-than", "0", "--yes", "--json")
        assert connection.execute("SELECT count(*) FROM artifact").fetchone() == (0,)


_PLANT: Final = """
INSERT INTO artifact (blake3, sha256, size)
SELECT sha256(text::bytea), sha256(text::bytea), 1
FROM (SELECT 'planted ' || number AS text FROM generate_series(1, %(count)s) AS number)
"""
