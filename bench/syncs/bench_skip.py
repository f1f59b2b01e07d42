"""What a sync costs that finds nothing new at upstream: CPU that does not grow with the repository.

A hundred such syncs run in an open engine, as in a daemon. Measured is the CPU of this process and
of the database's processes, autovacuum included, which the system counts in hundredths of a second;
`extra_info` tells both in milliseconds a sync. Left out: the start of the process and of the
embedded server, which `make bench SCENARIO=resync_skip` has in it.

On 2 cores, in two runs: 3.3 and 5.0 ms here and 2.8 and 4.6 ms in the database for 1 000 units, 3.3
and 4.6 ms and 3.1 and 4.7 ms for 100 000.
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import uvloop
from pytest_benchmark.fixture import BenchmarkFixture

from bench.conftest import Sized
from bench.syncs.tree import MANIFEST, grow
from bench.syncs.web import serving
from flowsync import DeclarativeVersion, Engine, Remote, Repository
from flowsync.sources.file import FileFirstStage

ROUNDS = 100


def database_cpu(conninfo: str) -> float:
    """Return the CPU seconds of the server's processes, those that ended included."""
    with psycopg.connect(conninfo) as connection:
        row = connection.execute("SHOW data_directory").fetchone()
    assert row is not None
    parent = int(Path(row[0], "postmaster.pid").read_text().split()[0])
    # One that ends meanwhile is in its parent's count by then.
    spent = sum(_ticks(child) for child in _children(parent)) + _ticks(parent)
    return spent / os.sysconf("SC_CLK_TCK")


def _children(parent: int) -> Iterator[int]:
    for task in Path(f"/proc/{parent}/task").iterdir():
        yield from map(int, (task / "children").read_text().split())


def _ticks(pid: int) -> int:
    # User and system time, of the process and of its children that were waited for; see proc(5).
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(map(int, fields[11:15]))


@pytest.mark.parametrize("units", [1_000, 100_000])
def bench_skip(
    benchmark: BenchmarkFixture, sized: Sized, conninfo: str, tmp_path: Path, units: int
) -> None:
    rounds = sized(ROUNDS, 2)
    with serving(
        grow(tmp_path / "files", [4096] * sized(units, 10), bodies=False), tmp_path
    ) as url:
        remote = Remote(name="upstream", url=f"{url}/{MANIFEST}", policy="on_demand")

        async def sync(times: int) -> tuple[float, float]:
            """Sync so often and return the CPU of this process and of the database."""
            async with Engine(home=tmp_path / "home", database_url=conninfo) as engine:
                skipped = []
                own, its = time.process_time(), database_cpu(conninfo)
                for _ in range(times):
                    version = DeclarativeVersion(
                        FileFirstStage(remote), Repository(name="files"), mirror=True, engine=engine
                    )
                    await version.acreate()
                    assert version.result is not None
                    skipped.append(version.result.skipped)
                own, its = time.process_time() - own, database_cpu(conninfo) - its
            assert all(skipped) or times == 1
            return own, its

        uvloop.run(sync(1))
        own, its = benchmark.pedantic(lambda: uvloop.run(sync(rounds)), rounds=1)
    benchmark.extra_info["cpu_ms"] = 1000 * own / rounds
    benchmark.extra_info["database_cpu_ms"] = 1000 * its / rounds
    assert own / rounds < 0.05
