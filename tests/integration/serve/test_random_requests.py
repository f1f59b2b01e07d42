"""Whatever is asked, the answer is the client's fault or right: never a 500, and never a byte that
was not asked for.
"""

import asyncio
import socket
import struct
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import Self

import pytest
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowsync import DeclarativeVersion, Engine, Remote, Repository
from flowsync.serve.app import ContentServer
from flowsync.serve.files.sending import open_part
from flowsync.sources.file import SOURCE, FileFirstStage
from tests.system.publishing import publish
from tests.upstream.server import Upstream

FILES = {"a": b"one", "dir/b": bytes(range(256)) * 1000, "é": b"three"}
STATUSES = {200, 206, 301, 304, 400, 404, 412, 416}


class Served:
    """A server with a few files, in a thread of its own."""

    def __init__(self, home: Path, conninfo: str, url: str) -> None:
        self.port = 0
        self._home, self._conninfo, self._url = home, conninfo, url
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: uvloop.run(self._serve()))

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait(30)
        return self

    def __exit__(self, *failure: object) -> None:
        self._loop.call_soon_threadsafe(self._ending.set)
        self._thread.join()

    async def _serve(self) -> None:
        self._loop, self._ending = asyncio.get_running_loop(), asyncio.Event()
        async with Engine(self._home, database_url=self._conninfo) as engine:
            stage = FileFirstStage(Remote(name="files", url=self._url))
            await DeclarativeVersion(stage, Repository(name="files"), engine=engine).acreate()
            async with ContentServer(engine, kinds=[SOURCE]) as server:
                self.port = server.addresses[0][1]
                self._ready.set()
                await self._ending.wait()

    def set_threads(self, threads: ThreadPoolExecutor) -> None:
        """Let other threads do the server's work on files."""
        self._loop.call_soon_threadsafe(self._loop.set_default_executor, threads)

    def annoy(self, noise: bytes, leaving: str) -> list[int]:
        """Send something and leave in some way; return the status of the first answer, if any."""
        with closing(socket.create_connection(("127.0.0.1", self.port), timeout=20)) as client:
            received = b""
            with suppress(OSError):
                client.sendall(noise)
                if leaving == "half-close":
                    client.shutdown(socket.SHUT_WR)
                elif leaving == "wait":
                    client.settimeout(0.1)
                received = client.recv(1000) if leaving in {"wait", "half-close"} else b""
            if leaving == "reset":
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        head = received.split()
        return [int(head[1])] if head[:1] and head[0].startswith(b"HTTP/") else []

    def ask(self, request: bytes) -> bytes:
        with closing(socket.create_connection(("127.0.0.1", self.port), timeout=20)) as client:
            client.sendall(request)
            received = b""
            while piece := client.recv(1 << 20):
                received += piece
        return received


@pytest.fixture
def served(tmp_path: Path, conninfo: str, upstream: Upstream) -> Iterator[Served]:
    with Served(tmp_path / "home", conninfo, publish(upstream, FILES)) as served:
        yield served


WORDS = [
    *("/", "//", "files", "files@1", "files@", "@", "a", "dir/b", "..", ".", "%2e%2e", "%2F"),
    *("./", "/./", "../", "/..", "%2f%2e%2e", "dir%2fb", "dir%2Fb/", "%5c", "%0d%0a", "\x85"),
    *("%00", "%ff", "%C3%A9", "%", "?after=", "?", "#", "-/health", "-/metrics", "~", "\\", ":"),
    *("%ED%A0%80", "%F4%90%80%80", "+", "%25", "files@999999999", "http://x/", "*"),
    *("PULP_MANIFEST", "files@0001-01-01T00:00:00+14:00", "files@9999-12-31T23:59:59-14:00"),
]
PIECES = st.sampled_from(WORDS) | st.text(
    st.characters(min_codepoint=33, max_codepoint=126), max_size=8
)
TARGETS = st.lists(PIECES, max_size=8).map(lambda pieces: "/" + "".join(pieces))
WORDS_OF_VALUES = [
    *("bytes=0-18446744073709551615", "bytes=-" + "9" * 5000, "bytes=0-0,", "bytes=1-1, 2-2"),
    *("Mon, 01 Jan 2024 00:00:00 +99999999999999", "Mon, 01 Jan 99999999999999999999", "inf"),
    *("bytes=0-", "bytes=-1", "bytes=1-0", "bytes=99999999999999999999-", '"x"', "*", "W/", '"'),
    *("Mon, 23 Nov 2026 10:00:00 GMT", "Mon, 23 Nov 0000 10:00:00 GMT", "application/json"),
    *("application/json;q=x", "text/html;q=nan", "Fri, 31 Dec 9999 23:59:59 -1400", ",", ";"),
]
VALUES = st.one_of(
    st.sampled_from(WORDS_OF_VALUES),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=12),
    st.text(st.characters(min_codepoint=128, max_codepoint=255), max_size=6),
)
CONDITIONS = ("If-Range", "If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since")
NAMES = st.sampled_from(
    [*CONDITIONS, "Range", "range", "Accept", "Accept-Encoding", "X-Forwarded-For", "Connection"]
)


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    target=TARGETS,
    headers=st.lists(st.tuples(NAMES, VALUES), max_size=5),
    method=st.sampled_from(["GET", "HEAD"]),
    version=st.sampled_from(["1.0", "1.1"]),
)
def test_no_path_and_no_header_yields_a_500(
    served: Served, target: str, headers: list[tuple[str, str]], method: str, version: str
) -> None:
    lines = [f"{method} {target} HTTP/{version}", "Host: h"]
    lines += [f"{name}: {value}" for name, value in headers]
    lines += ["Connection: close", "", ""]

    received = served.ask("\r\n".join(lines).encode("latin-1", "replace"))

    head, _, body = received.partition(b"\r\n\r\n")
    status = int(head.split()[1])
    assert status in STATUSES
    if method == "GET" and status == 206:
        assert any(body in whole for whole in (*FILES.values(), body))


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    first=st.integers(0, 300_000), last=st.integers(0, 300_000) | st.none(), suffix=st.booleans()
)
def test_any_range_is_exactly_these_bytes(
    served: Served, first: int, last: int | None, suffix: bool
) -> None:
    body = FILES["dir/b"]
    wanted = f"-{first}" if suffix else f"{first}-{'' if last is None else last}"
    end = len(body) if last is None else last + 1
    expected = body[max(0, len(body) - first) :] if suffix else body[first:end]

    received = served.ask(
        f"GET /files/dir/b HTTP/1.1\r\nHost: h\r\nRange: bytes={wanted}\r\n"
        "Connection: close\r\n\r\n".encode()
    )

    head, _, got = received.partition(b"\r\n\r\n")
    status = int(head.split()[1])
    assert status == (206 if expected else 416)
    if expected:
        assert got == expected


HELLO = bytes.fromhex("16030100c8010000c40303") + bytes(range(200))
"""How a client begins that speaks TLS."""
GET = b"GET /files/dir/b HTTP/1.1\r\nHost: h\r\n"
NOISE = [
    HELLO,
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET /files/a HTTP/0.9\r\n\r\n",
    b"GET /files/a HTTP/2.0\r\nHost: h\r\n\r\n",
    b"GET /files/a HTTP/9.9\r\nHost: h\r\n\r\n",
    b"GET /files/a\r\n\r\n",
    GET + b"Expect: 100-continue\r\n\r\n",
    GET + b"Expect: wonders\r\n\r\n",
    GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n",
    GET + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: A\r\n\r\n",
    GET + b"Content-Length: 10\r\n\r\n12345",
    GET + b"Content-Length: 99999999999999999999\r\n\r\n",
    GET + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n12345",
    GET + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    GET + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    GET + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
    GET + b"Transfer-Encoding: gzip, chunked\r\n\r\n5\r\n12345\r\n0\r\n\r\n",
    GET + b"Content-Encoding: gzip\r\nContent-Length: 5\r\n\r\n12345",
    GET + b"Content-Encoding: br\r\nContent-Length: 5\r\n\r\n12345",
    b"CONNECT files:443 HTTP/1.1\r\nHost: h\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n",
    b"GET \xff\xfe HTTP/1.1\r\nHost: \xff\r\n\r\n",
    b"\r\n\r\n\r\n" + GET + b"\r\n",
    GET + b"X: \xed\xa0\x80\r\n\r\n",
    GET + b"Cookie: " + b"a=\xff;" * 500 + b"\r\n\r\n",
]
LEAVING = st.sampled_from(["wait", "close", "reset", "half-close"])


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    pieces=st.lists(st.sampled_from(NOISE) | st.binary(max_size=40), min_size=1, max_size=4),
    cut=st.integers(0, 400) | st.none(),
    leaving=LEAVING,
)
def test_no_client_leaves_a_traceback_and_the_next_one_is_served(
    served: Served,
    caplog: pytest.LogCaptureFixture,
    pieces: list[bytes],
    cut: int | None,
    leaving: str,
) -> None:
    """Pipelined noise, cut anywhere, from clients that wait for the answers or do not."""
    statuses = served.annoy(b"".join(pieces)[:cut], leaving)

    answer = served.ask(b"GET /files/a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")

    assert all(status < 500 for status in statuses)
    assert answer.endswith(b"\r\n\r\none")
    assert [record.getMessage() for record in caplog.records if record.exc_info] == []


class Leaving(ThreadPoolExecutor):
    """Ends the task that lets a thread open a file, as when its client leaves just then."""

    left = 0

    def submit(self, job, /, *arguments, **options):
        if job is open_part:
            self.left += 1
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
        return super().submit(job, *arguments, **options)


def test_client_that_leaves_while_its_file_is_opened_leaves_none_open(served: Served) -> None:
    """What is forgotten without being closed is a warning, which fails the test."""
    leaving = Leaving()
    served.set_threads(leaving)

    received = served.ask(GET + b"Connection: close\r\n\r\n")

    assert (received, leaving.left) == (b"", 1)
