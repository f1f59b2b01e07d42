"""Whatever bytes answer a request, it ends with the right body or with an error of its source,
which tells no secret.

Heads and bodies are drawn by hypothesis: answers that are nearly right, bytes changed at random,
cut into pieces at random. `FLOWSYNC_ANSWERS` says how many transfers are tried.
"""

import asyncio
import gzip
import hashlib
import os
import zlib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowsync.download.fetcher import open_fetcher
from flowsync.download.transfer.spool import Spool
from flowsync.errors import IntegrityError, TransferError
from flowsync.model.remote import Fetched, Fetcher, FetchRequest, Remote, Validators
from tests.integration.download.conftest import QUICK
from tests.integration.download.test_answers import everything_said
from tests.upstream.raw import RawUpstream

ANSWERS = int(os.environ.get("FLOWSYNC_ANSWERS", "300"))

BODY = bytes(range(256)) * 8
SHA256 = hashlib.sha256(BODY).hexdigest()
PACKED = gzip.compress(BODY, mtime=0)
SECRET = "plan" + "ted"
DATE = b"Mon, 06 Jan 2025 10:00:00 GMT"

STATUS = st.sampled_from(
    [b"200 OK"] * 6
    + [b"206 Partial Content", b"203 ok", b"304 Not Modified", b"302 Found", b"308 p", b"200"]
    + [b"404 No se encontr\xf3", b"416 Range", b"429 Slow", b"503 Busy", b"101 Switch", b"204 No"]
    + [b"100 Continue", b"999 \x00\xff", b"007 Bond", b"20 OK", b"-200 OK", b"200000 OK", b""]
)
NAMES = [b"ETag", b"Last-Modified", b"Date", b"Retry-After", b"Content-Range", b"Content-Encoding"]
NAMES += [b"Content-Length", b"Transfer-Encoding", b"Connection", b"Location", b"X-Odd", b"Upgrade"]
NAMES += [
    b"X\xf3",
    b"",
    b" folded",
    b"Set-Cookie",
    b"Sec-WebSocket-Key1",
    b"Trailer",
    b"content-length ",
]
VALUES = [
    b"",
    b"0",
    b"2048",
    b"2048, 2048",
    b"-1",
    b"+2048",
    b"9" * 25,
    b"9" * 5000,
    b"1e3",
    b"0x800",
]
VALUES += [
    b"identity",
    b"gzip",
    b"gzip, gzip",
    b"br",
    b"deflate",
    b"chunked",
    b"chunked, chunked",
    b"gzip, chunked",
]
VALUES += [
    b"close",
    b"keep-alive",
    b'"tag"',
    b'W/"tag"',
    b'"caf\xe9"',
    b'"\xf3',
    b"tag",
    b"*",
    b'"a", "b"',
]
VALUES += [
    DATE,
    b"Mon, 01 Jan 2024 00:00:00 +99999999999999",
    b"Mon, 99 Foo 0000 99:99:99 XYZ",
    b"()",
]
VALUES += [
    b"bytes 0-2047/2048",
    b"bytes 0-9/2048",
    b"bytes 100-2047/2048",
    b"bytes */2048",
    b"bytes 5-1/*",
]
VALUES += [
    b"/good",
    b"//",
    b"http://a..b/",
    b"http://[::/",
    b"http://user:x@localhost/",
    b"file:///etc/hostname",
]
VALUES += [
    b"/caf\xe9?x=\x01",
    b"?",
    b"#",
    b"http://localhost:99999/",
    b"\\\\evil",
    b"javascript:1",
    b"a" * 9000,
]
VALUE = st.sampled_from(VALUES) | st.binary(max_size=12)
LINE = st.tuples(st.sampled_from(NAMES), VALUE).map(b": ".join)
SPLITS = st.lists(st.integers(0, 5000), max_size=3)


def chunked(body: bytes) -> bytes:
    return b"400;x=y\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n" % (body[:1024], len(body) - 1024, body[1024:])


class Told(NamedTuple):
    """An answer: its pieces, and whether the connection ends behind it."""

    pieces: list[bytes]
    close: bool


@st.composite
def answers(draw: st.DrawFn) -> Told:
    body, lines = draw(
        st.sampled_from(
            [
                (BODY, [b"Content-Length: 2048"]),
                (BODY, []),
                (chunked(BODY), [b"Transfer-Encoding: chunked"]),
                (PACKED, [b"Content-Encoding: gzip", b"Content-Length: %d" % len(PACKED)]),
                (chunked(zlib.compress(BODY) * 200), [b"Transfer-Encoding: chunked"]),
                (BODY[100:], [b"Content-Length: 1948", b"Content-Range: bytes 100-2047/2048"]),
                (BODY[:100], [b"Content-Length: 2048", b'ETag: "tag"']),
                (b"", []),
            ]
        )
    )
    lines = [*lines, *draw(st.lists(LINE, max_size=4))]
    end = draw(st.sampled_from([b"\r\n"] * 8 + [b"\n", b"\r", b"\r\n\r\n"]))
    begin = draw(
        st.sampled_from([b"HTTP/1.1 "] * 8 + [b"HTTP/1.0 ", b"HTTP/2 ", b"ICY ", b"\r\n", b""])
    )
    said = end.join([begin + draw(STATUS), *lines, b"", body])
    said += draw(st.sampled_from([b""] * 6 + [b"\r\n", b"surplus", b"HTTP/1.1 200 OK\r\n\r\n"]))
    for at, kind, what in draw(
        st.lists(
            st.tuples(st.integers(0, 400), st.integers(0, 3), st.binary(max_size=4)), max_size=2
        )
        if draw(st.booleans())
        else st.just([])
    ):
        said = [
            said[:at],
            said[:at] + what + said[at:],
            said[:at] + what + said[at + len(what) :],
            said,
        ][kind]
    if (
        b"ttp://" in said.lower().replace(b"http://a..b/", b"").replace(b"http://[::/", b"")
        and b"ocation" in said
    ):
        # A changed host could be one outside this machine.
        said = said.replace(b"://", b":/")
    cuts = sorted({min(cut, len(said)) for cut in draw(SPLITS)} | {0, len(said)})
    return Told([said[a:b] for a, b in pairwise(cuts)], draw(st.booleans()))


class Bench:
    """A loop for transfers one after another, each with a fetcher of its own: one that had seen the
    others would spare the upstream.
    """

    def __init__(self, runner: asyncio.Runner, raw: RawUpstream, scratch: Path) -> None:
        self.raw = raw
        self.scratch = scratch
        self._runner = runner
        self._count = 0
        self.remote = Remote(
            name="upstream",
            url=raw.url(),
            token=SECRET,
            headers=[("X-Key", SECRET)],
            max_retries=1,
            stall_timeout=0.02,
            total_timeout=0.5,
        )

    def transfer(self, told: list[Told], **fields: Any) -> bytes | Exception | None:
        """Return the body that a request brings which is answered so; `None` is one that is not
        modified.
        """
        self._count += 1
        path = f"/{self._count}?sig={SECRET}"
        for pieces, close in told:
            self.raw.say(path, *pieces, close=close)
        request = FetchRequest(url=self.raw.url(path), remote=self.remote, **fields)
        try:
            return self._runner.run(self._within(request))
        finally:
            self.raw.forget(path)

    async def _within(self, request: FetchRequest) -> bytes | Exception | None:
        try:
            async with asyncio.timeout(20), open_fetcher(self.scratch, backoff=QUICK) as fetcher:
                return await self._fetch(fetcher, request)
        except (TransferError, IntegrityError) as error:
            return error

    async def _fetch(self, fetcher: Fetcher, request: FetchRequest) -> bytes | None:
        if request.size is not None:
            sink = Spool(str(self.scratch), 1 << 30)
            received = await fetcher.stream(request, sink)
            return None if received.not_modified else sink.body or b""
        fetched: Fetched = await fetcher.download(request)
        if fetched.path is None:
            return None
        assert all(value.isprintable() for pair in fetched.headers.items() for value in pair)
        path = Path(fetched.path)
        body = path.read_bytes()
        path.unlink()
        return body


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner, RawUpstream() as raw:
        raw.say("/good", b"HTTP/1.1 200 OK\r\nContent-Length: 2048\r\n\r\n" + BODY)
        made = Bench(runner, raw, tmp_path)
        yield made
    assert list(tmp_path.iterdir()) == []


@pytest.mark.timeout(max(60, ANSWERS))
def test_any_answer_gives_the_right_body_or_an_error_of_its_source(bench: Bench) -> None:
    @settings(
        max_examples=ANSWERS, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(
        told=st.lists(answers(), min_size=1, max_size=3),
        checked=st.sampled_from(["digest", "size", "nothing"]),
        validators=st.sampled_from([None, Validators('"tag"'), Validators(None, DATE.decode())]),
        compressed=st.booleans(),
    )
    def holds(
        told: list[Told], checked: str, validators: Validators | None, compressed: bool
    ) -> None:
        fields: dict[str, Any] = {"validators": validators, "compressed": compressed}
        if checked == "digest":
            fields["expected"] = {"sha256": SHA256}
        elif checked == "size":
            fields["size"] = len(BODY)

        found = bench.transfer(told, **fields)

        if isinstance(found, Exception):
            assert f"http://localhost:{bench.raw.port}/" in str(found)
            assert str(found).isprintable()
            assert SECRET not in everything_said(found)
        elif found is None:
            assert validators is not None
        elif checked == "digest":
            assert found == BODY
        elif checked == "size":
            assert len(found) == len(BODY)

    holds()
