"""Many syncs at the same time, in several processes, of repositories that share most of what they
have: each ends as if it had been alone.
"""

import hashlib
import random
from collections.abc import Iterator

import psycopg
import pytest

from tests.system.command import CommandLine
from tests.system.publishing import numbered, publish
from tests.system.records import expect_whole, staged, versions
from tests.upstream.server import Upstream

PROCESSES = 4
SYNCS = 8
"""Syncs of each process. The first two are of repositories that all processes sync, the others of
its own.
"""

POOL = numbered(150)

Files = dict[str, bytes]


@pytest.fixture
def processes(flowsync: CommandLine, conninfo: str) -> list[CommandLine]:
    """Give command lines that share a home and a database, each with a folder for its settings."""
    made = []
    for number in range(PROCESSES):
        folder = flowsync.folder / str(number)
        folder.mkdir()
        made.append(CommandLine(folder, database_url=conninfo, home=flowsync.home))
    return made


def names(process: int) -> list[str]:
    return [f"all-{n}" if n < 2 else f"own-{process}-{n}" for n in range(SYNCS)]


def publish_all(upstream: Upstream, pool: Files, seed: int) -> dict[str, Files]:
    """Publish for each repository a random part of the pool, and return them by name."""
    chance = random.Random(seed)
    found = {}
    for name in sorted({name for process in range(PROCESSES) for name in names(process)}):
        found[name] = dict(chance.sample(list(pool.items()), 60))
        publish(upstream, found[name], f"/{name}")
    return found


def digests(files: dict[str, Files]) -> dict[str, dict[str, str]]:
    return {
        name: {path: hashlib.sha256(body).hexdigest() for path, body in having.items()}
        for name, having in files.items()
    }


def configure(processes: list[CommandLine], upstream: Upstream, workers: int) -> None:
    for number, process in enumerate(processes):
        urls = {
            name: {"url": upstream.url(f"/{name}/PULP_MANIFEST"), "mirror": True}
            for name in names(number)
        }
        process.configure(f"syncs_at_once = {SYNCS}\nworkers = {workers}\n", urls)


def sync_all(processes: list[CommandLine]) -> Iterator[str]:
    """Sync everything in all processes at once, and yield what each complains of."""
    for running in [process.start("sync", "--force") for process in processes]:
        done = running.wait()
        yield done.err if done.status else ""


def content(conninfo: str) -> dict[str, dict[str, str]]:
    """Return paths and sha256 of the newest version of every repository."""
    with psycopg.connect(conninfo) as connection:
        rows = connection.execute(
            "SELECT r.name, ca.relative_path, encode(a.sha256, 'hex') FROM repository r "
            "JOIN repository_content rc ON rc.repository_id = r.id AND rc.removed IS NULL "
            "JOIN content_artifact ca USING (content_id) JOIN artifact a ON a.id = ca.artifact_id"
        ).fetchall()
    found: dict[str, dict[str, str]] = {}
    for name, path, sha256 in rows:
        assert path not in found.setdefault(name, {})
        found[name][path] = sha256
    return found


@pytest.mark.parametrize("workers", [0, 1])
def test_overlapping_syncs_each_end_as_if_they_were_alone(
    processes: list[CommandLine], upstream: Upstream, conninfo: str, workers: int
) -> None:
    """32 at once; two repositories are synced by all four processes, which wait for each other."""
    files = publish_all(upstream, POOL, seed=3)
    configure(processes, upstream, workers)

    complaints = list(sync_all(processes))

    assert complaints == [""] * PROCESSES
    assert content(conninfo) == digests(files)
    assert {name: versions(conninfo, name) for name in files} == {
        name: [(1, True)] for name in files
    }
    expect_whole(conninfo, processes[0].home)
    assert staged(processes[0].home) == []


def test_syncs_deletions_clean_up_and_verification_do_not_disturb_each_other(
    processes: list[CommandLine], upstream: Upstream, conninfo: str
) -> None:
    """Half of the pool changes between two waves of syncs; meanwhile old versions go, and whatever
    only they had.
    """
    publish_all(upstream, POOL, seed=3)
    configure(processes, upstream, 0)
    assert list(sync_all(processes)) == [""] * PROCESSES
    changed = {path: body * 2 for path, body in list(POOL.items())[::2]}
    fresh = publish_all(upstream, {**POOL, **changed}, seed=4)

    syncing = [process.start("sync", "--force") for process in processes]
    housekeeping = [
        processes[0].start(*command)
        for command in (
            ("prune", "--older-than", "0s", "--yes"),
            ("verify",),
            *(("delete", name, "1") for name in names(0)[2:5]),
        )
    ]
    ended = [running.wait() for running in (*syncing, *housekeeping)]
    pruned = processes[0].run("prune", "--older-than", "0s", "--yes")

    # A repository has one version until its sync is over, and that cannot be deleted: the only
    # thing that may be refused here.
    assert {done.status for done in ended[: PROCESSES + 2]} == {0}, ended
    for done in ended[PROCESSES + 2 :]:
        assert done.status == 0 or "only" in done.err, done.err
    assert pruned.status == 0
    assert content(conninfo) == digests(fresh)
    assert processes[0].run("verify").status == 0
    expect_whole(conninfo, processes[0].home)
