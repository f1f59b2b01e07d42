"""Machines that let a process have few files and sockets open: the engine keeps within that, or
says that it cannot.
"""

from pathlib import Path

from tests.system.command import CommandLine
from tests.system.publishing import publish
from tests.upstream.server import Upstream

COUNT = 150
"""More files of a repository than descriptors; large enough to be files on their way, too."""


def limited(folder: Path, conninfo: str, descriptors: int) -> CommandLine:
    limit = f'ulimit -n {descriptors} && exec "$@"'
    return CommandLine(folder, database_url=conninfo, prefix=("sh", "-c", limit, "sh"))


def test_several_syncs_keep_within_few_descriptors(
    tmp_path: Path, conninfo: str, upstream: Upstream
) -> None:
    flowsync = limited(tmp_path, conninfo, 100)
    repositories: dict[str, dict[str, object]] = {}
    for name in ("one", "two", "three"):
        files = {str(number): f"{name} {number} ".encode() * 30_000 for number in range(COUNT)}
        repositories[name] = {"url": publish(upstream, files, f"/{name}")}
    flowsync.configure(repositories=repositories)

    synced = flowsync.run("sync")
    verified = flowsync.run("verify", "--json")

    assert (synced.status, synced.complaints) == (0, [])
    assert verified.objects[0]["checked"] == 3 * COUNT


def test_too_few_descriptors_are_an_error_that_says_how_many_it_takes(
    tmp_path: Path, conninfo: str
) -> None:
    done = limited(tmp_path, conninfo, 40).run("status")

    assert done.status == 2
    (complaint,) = done.complaints
    assert complaint.startswith("flowsync: flowsync needs at least 64 files and sockets at once;")
    assert "may have 40 open; raise that with `ulimit -n`" in complaint
