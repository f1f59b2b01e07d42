"""`flowsync serve` as a process: it listens, answers, and ends well."""

import re
import resource
import signal
import socket
import sys
import urllib.request
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from urllib.error import HTTPError

import pytest

from tests.system.command import CommandLine, Running
from tests.system.publishing import publish
from tests.upstream.server import Upstream

LARGE = b"0123456789abcdef" * (1 << 20)


def serving(
    flowsync: CommandLine, bind: str | None = "127.0.0.1:0", *options: str
) -> tuple[Running, str]:
    """Start a server; return it with its URL. Without `bind` the settings say where it listens."""
    where = [] if bind is None else ["--bind", bind]
    running = flowsync.start("serve", *where, *options)
    assert running.process.stdout is not None
    line = running.process.stdout.readline().decode()
    found = re.search(r"http://\S+", line)
    if found is None:
        # What is left open fails another test, far from here.
        running.signal(signal.SIGKILL)
        pytest.fail(f"the server did not start: {line!r}, {running.wait()}")
    return running, found[0]


def read(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=20) as reply:  # noqa: S310 - it is our own
        return bytes(reply.read())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_server_answers_until_it_is_told_to_stop(
    flowsync: CommandLine, upstream: Upstream, number: signal.Signals
) -> None:
    flowsync.run("sync", "file", publish(upstream, {"a": b"one"}), "-r", "files")
    running, url = serving(flowsync)

    body = read(f"{url}files/a")
    stopped = running.stop(number)

    assert body == b"one"
    assert (stopped.status, stopped.err) == (0, "")


def test_a_running_answer_is_finished_when_the_server_is_told_to_stop(
    flowsync: CommandLine, upstream: Upstream
) -> None:
    flowsync.run("sync", "file", publish(upstream, {"a": LARGE}), "-r", "files")
    running, url = serving(flowsync)
    port = int(url.rstrip("/").rpartition(":")[2])

    with closing(socket.create_connection(("127.0.0.1", port), timeout=20)) as client:
        client.sendall(b"GET /files/a HTTP/1.1\r\nHost: h\r\n\r\n")
        received = client.recv(1000)
        running.process.send_signal(signal.SIGTERM)
        while piece := client.recv(1 << 20):
            received += piece
    stopped = running.wait()

    assert received.partition(b"\r\n\r\n")[2] == LARGE
    assert stopped.status == 0


@pytest.fixture
def other(tmp_path: Path, empty_conninfo: str) -> CommandLine:
    """Give the command line with another home and another database."""
    return CommandLine(tmp_path, database_url=empty_conninfo, home=tmp_path / "other")


def free_port() -> int:
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def test_processes_of_one_home_share_an_address_when_told_to(
    flowsync: CommandLine, upstream: Upstream
) -> None:
    flowsync.run("sync", "file", publish(upstream, {"a": b"one"}), "-r", "files")
    bind = f"127.0.0.1:{free_port()}"
    first, url = serving(flowsync, bind, "--share-port")
    second, _ = serving(flowsync, bind, "--share-port")

    bodies = [read(f"{url}files/a") for _ in range(10)]
    assert first.stop(signal.SIGTERM).status == 0
    bodies += [read(f"{url}files/a") for _ in range(3)]
    third, _ = serving(flowsync, bind, "--share-port")
    assert second.stop(signal.SIGTERM).status == 0
    bodies += [read(f"{url}files/a") for _ in range(3)]
    assert third.stop(signal.SIGTERM).status == 0

    assert bodies == [b"one"] * 16
    assert list((flowsync.home / "listening").iterdir()) == []


@pytest.mark.parametrize("options", [(), ("--share-port",)])
def test_a_port_in_use_is_an_error(
    options: tuple[str, ...], flowsync: CommandLine, other: CommandLine
) -> None:
    """Also when flowsync itself uses it, with the same home or with another one, at the same
    address or at all.
    """
    port = free_port()
    running, _ = serving(flowsync, f"127.0.0.1:{port}", *options)

    done = {
        (who, host, *beside): each.run("serve", "--bind", f"{host}:{port}", *beside)
        for host in ("127.0.0.1", "")
        for beside in ((), ("--share-port",))
        for who, each in (("other", other), ("same", flowsync))
        if who == "other" or not (options and beside)
    }
    still = running.process.poll()
    running.stop(signal.SIGTERM)

    assert still is None
    assert len(done) == (6 if options else 8)
    for (_, host, *_), each in done.items():
        assert (each.status, each.out) == (1, "")
        assert f"cannot listen at {host}:{port}: " in each.err


def test_a_port_of_another_program_is_not_shared(flowsync: CommandLine) -> None:
    with closing(socket.socket()) as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]

        done = flowsync.run("serve", "--bind", f"127.0.0.1:{port}", "--share-port")

    assert done.status == 1
    assert f"cannot listen at 127.0.0.1:{port}: another program listens there" in done.err


def test_two_homes_that_begin_at_once_never_share(
    flowsync: CommandLine, other: CommandLine
) -> None:
    bind = f"127.0.0.1:{free_port()}"
    begun = [each.start("serve", "--bind", bind, "--share-port") for each in (flowsync, other)]

    heads = []
    for each in begun:
        assert each.process.stdout is not None
        heads.append(each.process.stdout.readline())
    for each, head in zip(begun, heads, strict=True):
        done = each.stop(signal.SIGTERM) if head else each.wait()
        assert done.status == (0 if head else 1)

    assert b"" in heads


@pytest.mark.parametrize("bind", ["{}", ":{}", "localhost:{}", "[::1]:{}", "0.0.0.0:{}", "[::]:{}"])
def test_ways_to_say_where_to_listen(bind: str, flowsync: CommandLine) -> None:
    port = free_port()
    host = "[::1]" if bind.startswith("[") else "127.0.0.1"
    if host == "[::1]" and not has_ipv6():
        pytest.skip("this machine has no IPv6")

    running, _ = serving(flowsync, bind.format(port))
    health = read(f"http://{host}:{port}/-/health")
    stopped = running.stop(signal.SIGTERM)

    assert health == b"well\n"
    assert (stopped.status, stopped.err) == (0, "")


def has_ipv6() -> bool:
    try:
        with closing(socket.socket(socket.AF_INET6)) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def test_the_settings_say_where_to_listen_and_the_command_line_wins(flowsync: CommandLine) -> None:
    port, other = free_port(), free_port()
    settings = flowsync.folder / "flowsync.toml"
    settings.write_text(
        f'[serve]\nbind = "127.0.0.1:{port}"\nurl = "https://mirror.example.org/"\n'
    )

    urls = []
    for bind in (None, f"127.0.0.1:{other}"):
        running, url = serving(flowsync, bind)
        urls.append(url)
        assert running.stop(signal.SIGTERM).status == 0

    assert urls == [f"http://127.0.0.1:{port}/", f"http://127.0.0.1:{other}/"]


def test_a_variable_that_the_command_line_makes_needless_need_not_be_set(
    flowsync: CommandLine,
) -> None:
    (flowsync.folder / "flowsync.toml").write_text('[serve]\nbind = "env:NOT_SET"\n')

    running, _ = serving(flowsync)

    assert running.stop(signal.SIGTERM).status == 0


@pytest.mark.parametrize(
    ("serve", "word"),
    [
        ('bind = "nowhere:port"', "serve.bind must be HOST:PORT"),
        ('bind = "env:NOT_SET"', "NOT_SET is not set"),
        ('url = "ftp://mirror.example.org/"', "what clients call the server"),
        ('url = "https://me:pw@mirror.example.org/"', "what clients call the server"),
        ('url = "mirror"', "malformed"),
        ('url = "https://mirror.example.org/my files"', "what clients call the server"),
        ('url = "https://mirror.example.org/?a=1"', "what clients call the server"),
        ("port = 1", "unknown field `port`"),
    ],
)
def test_serve_settings_that_cannot_be_used_are_named(
    flowsync: CommandLine, serve: str, word: str
) -> None:
    (flowsync.folder / "flowsync.toml").write_text(f"[serve]\n{serve}\n")

    done = flowsync.run("serve")

    assert done.status == 2
    assert word in done.err
    assert "flowsync.toml" in done.err
    assert "pw" not in done.err


@pytest.mark.parametrize(
    "bind", ["", "host", "host:", "host:99999", "::1:80", "[::1]", "http://h:80", "h:8x", "h:٣"]
)
def test_an_address_that_is_none_is_wrong_usage(tmp_path: Path, bind: str) -> None:
    flowsync = CommandLine(tmp_path, database_url="postgresql://nobody@127.0.0.1:1/none")

    done = flowsync.run("serve", "--bind", bind)

    assert done.status == 2
    said = f"--bind must be HOST:PORT, :PORT or PORT, found '{bind}'"
    assert (said if bind else "Invalid value for '--bind': it is empty") in done.err


def test_a_program_may_open_as_many_files_as_the_system_lets_it(flowsync: CommandLine) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = "5000" if hard == resource.RLIM_INFINITY else str(min(5000, hard))
    limited = CommandLine(
        flowsync.folder,
        database_url=flowsync.environment["FLOWSYNC_DATABASE_URL"],
        prefix=[sys.executable, "-c", LIMITED, "256", most],
    )
    running, _ = serving(limited)
    limits = Path(f"/proc/{running.process.pid}/limits").read_text()
    running.stop(signal.SIGTERM)

    found = re.search(r"Max open files +(\d+) +(\d+)", limits)
    assert found is not None
    assert found.groups() == (most, most)


LIMITED = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), int(sys.argv[2])))
os.execv(sys.argv[3], sys.argv[3:])
"""


def test_more_connections_than_files_may_be_open_are_refused(
    flowsync: CommandLine, upstream: Upstream
) -> None:
    """Those that are open go on, the log says it once, and there is room again afterwards."""
    flowsync.run("sync", "file", publish(upstream, {"a": b"one"}), "-r", "files")
    limited = CommandLine(
        flowsync.folder,
        database_url=flowsync.environment["FLOWSYNC_DATABASE_URL"],
        home=flowsync.home,
        prefix=[sys.executable, "-c", LIMITED, "128", "128"],
    )
    running, url = serving(limited)
    port = int(url.rstrip("/").rpartition(":")[2])

    with ExitStack() as connections:
        heads = []
        for _ in range(200):
            connection = socket.create_connection(("127.0.0.1", port), timeout=20)
            connections.enter_context(closing(connection))
            connection.sendall(b"GET /files/a HTTP/1.1\r\nHost: h\r\n\r\n")
            heads.append(connection.recv(1000)[:12])
    bodies: list[bytes] = []
    while len(bodies) < 10:
        with suppress(HTTPError):
            bodies.append(read(f"{url}files/a"))
    stopped = running.stop(signal.SIGTERM)

    assert set(heads) == {b"HTTP/1.1 200", b"HTTP/1.1 503"}
    assert heads[:10] == [b"HTTP/1.1 200"] * 10
    assert bodies == [b"one"] * 10
    assert stopped.err.count("others are refused") == 1


def test_an_address_that_cannot_be_had_is_said(flowsync: CommandLine) -> None:
    done = flowsync.run("serve", "--bind", "203.0.113.1:1")

    assert done.status == 1
    assert "cannot listen at 203.0.113.1:1: " in done.err
