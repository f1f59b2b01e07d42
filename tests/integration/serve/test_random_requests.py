"""Whatever is asked, the answer is the client's fault or right: never a 500, and never a byte that was not asked for."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Self

import pytest
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowsync import DeclarativeVersion, Engine, Remote, Repository
from flowsync.serve.app import ContentServer
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
            async with ContentServer(engine, metadata=SOURCE.metadata) as server:
                self.port = server.addresses[0][1]
                self._ready.set()
                await self._ending.wait()

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
    *("%00", "%ff", "%C3%A9", "%", "?after=", "?", "#", "-/health", "-/metrics", "~", "\\", ":"),
    *("%ED%A0%80", "%F4%90%80%80", "+", "%25", "files@999999999", "http://x/", "*"),
    *("PULP_MANIFEST", "files@0001-01-01T00:00:00+14:00", "files@9999-12-31T23:59:59-14:00"),
]
PIECES = st.sampled_from(WORDS) | st.text(
    st.characters(min_codepoint=33, max_codepoint=126), max_size=8
)
TARGETS = st.lists(PIECES, max_size=8).map(lambda pieces: "/" + "".join(pieces))
WORDS_OF_VALUES = [
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
NAMES = st.sampled_from([*CONDITIONS, "Range", "Accept", "Accept-Encoding", "X-Forwarded-For"])


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    target=TARGETS,
    headers=st.lists(st.tuples(NAMES, VALUES), max_size=5),
    method=st.sampled_from(["GET", "HEAD"]),
)
def test_no_path_and_no_header_yields_a_500(
    served: Served, target: str, headers: list[tuple[str, str]], method: str
) -> None:
    lines = [f"{method} {target} HTTP/1.1", "Host: h"]
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
    """Fact 107."""
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
