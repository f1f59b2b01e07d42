"""`flowsync serve` as a process: it listens, answers, and ends well."""

import re
import signal
import socket
import urllib.request
from contextlib import closing

import pytest

from tests.system.command import CommandLine, Running
from tests.system.publishing import publish
from tests.upstream.server import Upstream

LARGE = b"0123456789abcdef" * (1 << 20)


def serving(flowsync: CommandLine, bind: str = "127.0.0.1:0") -> tuple[Running, str]:
    """Start a server; return it with its URL."""
    running = flowsync.start("serve", "--bind", bind)
    assert running.process.stdout is not None
    line = running.process.stdout.readline().decode()
    found = re.search(r"http://\S+", line)
    assert found is not None
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


def test_processes_share_an_address(flowsync: CommandLine, upstream: Upstream) -> None:
    flowsync.run("sync", "file", publish(upstream, {"a": b"one"}), "-r", "files")
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        bind = f"127.0.0.1:{free.getsockname()[1]}"
    first, url = serving(flowsync, bind)
    second, _ = serving(flowsync, bind)

    bodies = [read(f"{url}files/a") for _ in range(10)]
    assert first.stop(signal.SIGTERM).status == 0
    bodies += [read(f"{url}files/a") for _ in range(3)]
    assert second.stop(signal.SIGTERM).status == 0

    assert bodies == [b"one"] * 13


@pytest.mark.parametrize("bind", ["8080", "host:", "host:99999", ":80"])
def test_an_address_that_is_none_is_wrong_usage(flowsync: CommandLine, bind: str) -> None:
    done = flowsync.run("serve", "--bind", bind)

    assert done.status == 2
    assert f"--bind must be HOST:PORT, found '{bind}'" in done.err


def test_an_address_that_cannot_be_had_is_said(flowsync: CommandLine) -> None:
    done = flowsync.run("serve", "--bind", "203.0.113.1:1")

    assert done.status == 1
    assert "cannot listen at 203.0.113.1:1: " in done.err
