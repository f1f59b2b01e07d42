"""Programs that are started with closed descriptors, as supervisors do it, and library users in
them.
"""

import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.integration.embedded_postgres.processes import servers_of
from tests.system.command import CommandLine, Running
from tests.system.publishing import publish
from tests.system.records import versions
from tests.upstream.behaviours import Hold
from tests.upstream.server import Upstream

CLOSED = ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"]

LIBRARY = """
import sys
from flowsync import Artifact, Content, DeclarativeArtifact, DeclarativeContent
from flowsync import DeclarativeVersion, Remote, Repository, Stage


class Page(Content):
    type_name = "page"
    natural_key = ("url",)
    url: str


class OnePage(Stage):
    async def run(self):
        remote = Remote(name="page", url=sys.argv[1])
        url = sys.argv[1]
        artifact = DeclarativeArtifact(Artifact(), url=url, relative_path="page", remote=remote)
        await self.put(DeclarativeContent(content=Page(sys.argv[1]), d_artifacts=[artifact]))


DeclarativeVersion(OnePage(), Repository(name="files")).create()
"""


def closing_of(flowsync: CommandLine, closed: str) -> CommandLine:
    """Return the command line that starts with descriptors closed."""
    return CommandLine(
        flowsync.folder,
        database_url=flowsync.environment.get("FLOWSYNC_DATABASE_URL"),
        prefix=["sh", "-c", f'exec "$@" {closed}', "sh"],
    )


def standard_descriptors(pid: int) -> list[str]:
    """Return what the standard descriptors of a process are."""
    return [os.readlink(f"/proc/{pid}/fd/{number}") for number in range(3)]


@pytest.mark.parametrize("closed", CLOSED)
def test_a_sync_and_a_listing_do_not_miss_descriptors(
    flowsync: CommandLine, upstream: Upstream, conninfo: str, closed: str
) -> None:
    """Libuv aborts the process when it is to close one of the first three."""
    url = publish(upstream, {"a": b"1", "b": b"2"})

    synced = closing_of(flowsync, closed).run("sync", "file", url, "-r", "files")
    status = closing_of(flowsync, closed).run("status")

    assert (synced.status, status.status) == (0, 0)
    assert versions(conninfo, "files") == [(1, True)]
    if ">&-" not in closed.split():
        assert "files: version 1, 2 units" in status.out


@pytest.mark.parametrize("closed", CLOSED)
def test_a_server_does_not_miss_descriptors(
    flowsync: CommandLine, upstream: Upstream, closed: str
) -> None:
    flowsync.run("sync", "file", publish(upstream, {"a": b"one"}), "-r", "files")
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    running = closing_of(flowsync, closed).start("serve", "--bind", f"127.0.0.1:{port}")

    answer = ask(running, port, b"GET /files/a HTTP/1.0\r\nHost: h\r\n\r\n")
    stopped = running.stop(signal.SIGTERM)

    assert answer.endswith(b"\r\n\r\none")
    assert (stopped.status, "Traceback" in stopped.err) == (0, False)


def test_no_child_has_a_socket_for_a_standard_descriptor(
    tmp_path: Path, upstream: Upstream
) -> None:
    """Workers and the embedded server would write their words into it."""
    flowsync = CommandLine(
        tmp_path, database_url=None, prefix=["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh"]
    )
    url = publish(upstream, {f"{number}": b"%d" % number for number in range(5)})
    upstream.always("/3", Hold())
    running = flowsync.start("sync", "file", url, "-r", "files", "--workers", "1")
    upstream.wait_for(6, timeout=40)

    found = {pid: standard_descriptors(pid) for pid in session_of(running.process.pid)}
    servers = [standard_descriptors(pid)[0] for pid in servers_of(flowsync.home)]
    upstream.release()
    done = running.wait()

    assert done.status == 0
    assert len(found) >= 2
    assert servers == ["/dev/null"]
    assert {target for targets in found.values() for target in targets} == {"/dev/null"}


@pytest.mark.parametrize("closed", CLOSED)
def test_a_library_call_does_not_miss_descriptors(
    flowsync: CommandLine, upstream: Upstream, conninfo: str, closed: str
) -> None:
    program = flowsync.folder / "daemon.py"
    program.write_text(LIBRARY)
    url = upstream.put("/front", b"welcome")

    started = closing_of(flowsync, closed)
    running = started.start_program([sys.executable, str(program), url])
    done = running.wait()

    assert (done.status, done.err) == (0, "")
    assert versions(conninfo, "files") == [(1, True)]


def ask(running: Running, port: int, request: bytes) -> bytes:
    """Send the request as soon as the server listens; return the answer."""
    with listening(running, port) as client:
        client.sendall(request)
        return b"".join(iter(lambda: client.recv(1 << 16), b""))


def listening(running: Running, port: int) -> socket.socket:
    """Return a connection to the server, which may still be starting."""
    deadline = time.monotonic() + 20
    while True:
        assert running.process.poll() is None
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=20)
        except ConnectionRefusedError:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def session_of(leader: int) -> Iterator[int]:
    """Yield the processes of a session."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and os.getsid(int(entry.name)) == leader:
            yield int(entry.name)
