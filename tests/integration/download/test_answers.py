"""Answers as they come from real servers, and worse ones: taken for what they mean, or refused by
an error of their source.
"""

import asyncio
import base64
import gzip
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

from flowsync.errors import (
    BrokenBodyError,
    DeclarationError,
    RedirectError,
    RefusedAnswerError,
    StatusError,
    TransferError,
    UnreachableError,
)
from flowsync.model.remote import Validators
from tests.integration.download.conftest import Client
from tests.upstream.raw import RawUpstream, answer

LENGTH = "Content-Length: 4"


@pytest.fixture
def raw() -> Iterator[RawUpstream]:
    with RawUpstream() as server:
        yield server


def everything_said(error: BaseException | None) -> str:
    """Return all texts of an error, of what it was raised from, and of what was being handled."""
    if error is None:
        return ""
    texts = [repr(error), str(error), repr(vars(error)), *getattr(error, "__notes__", [])]
    texts += traceback.format_exception(error)
    return "\n".join([*texts, everything_said(error.__cause__), everything_said(error.__context__)])


async def test_status_line_that_is_no_utf8_is_read_and_cleaned(
    client: Client, raw: RawUpstream
) -> None:
    url = raw.say("/a", answer("Content-Length: 0", status="404 No se encontr\xf3 \x1b[31m"))

    with pytest.raises(StatusError) as refused:
        await client.get(url)

    assert refused.value.reason == "status 404 No se encontró \ufffd[31m"
    assert raw.count("/a") == 1


async def test_headers_that_are_no_utf8_are_read_and_cleaned(
    client: Client, raw: RawUpstream
) -> None:
    lines: list[str | bytes] = [
        LENGTH,
        "Server: Se\xf1or",
        b"X-Name: \xc3\xa9\xe2\x80\xae",
        "X-Bell: a\x07b",
    ]
    url = raw.say("/a", answer(*lines, body=b"body"))

    _, received = await client.receive(url)

    assert received.headers["server"] == "Señor"
    assert received.headers["x-name"] == "é\ufffd"
    assert received.headers["x-bell"] == "a\ufffdb"


@pytest.mark.parametrize(
    "tag",
    [b'"caf\xe9"', b'"caf\xc3\xa9"', b'"a\x07b"', b'"' + b"a" * 2000 + b'"', b'"a", "b"', b'"a" x'],
)
async def test_entity_tag_that_cannot_be_sent_back_as_it_came_is_not_remembered(
    client: Client, raw: RawUpstream, tag: bytes
) -> None:
    broken = answer("Content-Length: 9", b"ETag: " + tag, body=b"half")
    raw.say("/a", broken, close=True)
    url = raw.say("/a", answer(LENGTH, b"ETag: " + tag, body=b"body"))

    found, received = await client.receive(url)

    assert (found, received.validators) == (b"body", Validators())
    assert "if-range" not in raw.seen[1].headers


async def test_two_entity_tags_are_none(client: Client, raw: RawUpstream) -> None:
    url = raw.say("/a", answer(LENGTH, 'ETag: "a"', 'ETag: "b"', body=b"body"))

    _, received = await client.receive(url)

    assert received.validators == Validators()


async def test_no_text_of_an_error_holds_what_was_sent(client: Client, raw: RawUpstream) -> None:
    client.fields |= {"max_retries": 0, "headers": [("X-Key", "planted")], "token": "planted"}
    for number, said in enumerate(
        [
            answer(LENGTH, b'ETag: "\xf3"', body=b"ha"),
            answer(status="404 \xf3"),
            answer("Location: http://\xf3:planted2/", status="302 Found"),
            b"HTTP/1.1 200 OK\r\nSet-Cookie: planted2\r\nBroken\x00: planted2\r\n\r\n",
            b"220 planted2\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nSet-Cookie: planted2\r\n",
        ]
    ):
        url = raw.say(f"/{number}?sig=planted", said, close=True)

        with pytest.raises(TransferError) as failed:
            await client.get(url)

        assert failed.value.url == raw.url(f"/{number}?sig=***")
        assert "planted" not in everything_said(failed.value)


@pytest.mark.parametrize("value", ["a\nb", "a\rb", "a\0b", "a\udcf3b"])
async def test_header_that_cannot_be_sent_is_an_error_that_names_it_only(
    client: Client, raw: RawUpstream, value: str
) -> None:
    client.fields["token"] = secret = "plan" + "ted"
    headers = {"X-Mine": f"{secret}{value}"}

    with pytest.raises(DeclarationError, match="value of header 'X-Mine'") as refused:
        await client.get(raw.url("/a"), headers=headers)

    assert secret not in everything_said(refused.value)


async def test_validator_that_cannot_be_sent_tells_no_header(
    client: Client, raw: RawUpstream
) -> None:
    client.fields["token"] = "planted"

    with pytest.raises(DeclarationError, match="a header of a request to localhost") as refused:
        await client.get(raw.url("/a"), validators=Validators('"\udcf3"'))

    assert "planted" not in everything_said(refused.value)


async def test_redirect_to_a_url_of_nine_thousand_characters_is_followed(
    client: Client, raw: RawUpstream
) -> None:
    long = "/there?sig=" + "s" * 9000
    raw.say(long, answer(LENGTH, body=b"body"))
    url = raw.say("/a", answer(f"Location: {long}", "Content-Length: 0", status="302 Found"))

    assert await client.get(url) == b"body"


async def test_head_of_many_lines_is_read(client: Client, raw: RawUpstream) -> None:
    lines = [f"X-{number}: value" for number in range(1000)]
    url = raw.say("/a", answer(*lines, LENGTH, body=b"body"))

    _, received = await client.receive(url)

    assert received.headers["x-999"] == "value"


@pytest.mark.parametrize("ended", [True, False])
async def test_head_beyond_the_limit_is_refused_at_once_and_not_quoted(
    client: Client, raw: RawUpstream, ended: bool
) -> None:
    said = answer("X-Long: " + "planted " * 10_000, LENGTH, body=b"body")
    url = raw.say("/a", said if ended else said[:70_000])

    with pytest.raises(RefusedAnswerError, match="head is longer than 65536 bytes") as refused:
        await client.get(url)

    assert "planted" not in everything_said(refused.value)
    assert raw.count("/a") == 1


@pytest.mark.parametrize(
    "location",
    [
        "http://a..b/",
        "http://user:planted@host/",
        "http://host:planted/",
        "http://[planted/",
        "http://" + "a" * 64 + "/",
        "http://\xf3/",
        "//",
        "http://ho%00st/",
    ],
)
async def test_redirect_to_a_malformed_url_is_an_error_of_its_source(
    client: Client, raw: RawUpstream, location: str
) -> None:
    said = answer(f"Location: {location}", "Content-Length: 0", status="302 Found")

    with pytest.raises(RedirectError) as refused:
        await client.get(raw.say("/a", said))

    assert refused.value.url == raw.url("/a")
    assert "planted" not in everything_said(refused.value)


async def test_redirect_of_bytes_that_are_no_utf8_goes_to_these_bytes(
    client: Client, raw: RawUpstream
) -> None:
    raw.say("/caf%E9", answer(LENGTH, body=b"body"))
    url = raw.say("/a", answer("Location: /caf\xe9", "Content-Length: 0", status="302 Found"))

    assert await client.get(url) == b"body"


@pytest.mark.parametrize(
    "line",
    [
        "Last-Modified: Mon, 01 Jan 2024 00:00:00 +99999999999999",
        "Last-Modified: Mon, 01 Jan 0001 00:00:00 +2359",
        "Date: Mon, 99 Jan 2024 00:00:00 GMT",
        "Retry-After: " + "9" * 5000,
        "Content-Range: bytes 0-" + "9" * 5000 + "/" + "9" * 5000,
    ],
)
async def test_header_that_cannot_be_understood_counts_as_absent(
    client: Client, raw: RawUpstream, line: str
) -> None:
    url = raw.say("/a", answer("Date: Mon, 06 Jan 2025 12:00:00 GMT", line, LENGTH, body=b"body"))

    assert await client.get(url) == b"body"


@pytest.mark.parametrize(
    ("encodings", "packed"),
    [
        (["identity"], 0),
        ([""], 0),
        (["identity, gzip"], 1),
        (["gzip, gzip"], 2),
        (["gzip", "x-gzip"], 2),
        (["GZIP ,, Identity"], 1),
    ],
)
async def test_encodings_are_undone_from_the_end(
    client: Client, raw: RawUpstream, body: bytes, encodings: list[str], packed: int
) -> None:
    sent = body
    for _ in range(packed):
        sent = gzip.compress(sent)
    lines = [f"Content-Encoding: {encoding}" for encoding in encodings]
    url = raw.say("/a", answer(*lines, f"Content-Length: {len(sent)}", body=sent))

    assert await client.get(url, compressed=True) == body


@pytest.mark.parametrize("encoding", ["br", "gzip, br", ", ".join(["gzip"] * 9), "utf-8"])
async def test_encoding_nobody_asked_for_is_refused_once(
    client: Client, raw: RawUpstream, encoding: str
) -> None:
    url = raw.say("/a", answer(f"Content-Encoding: {encoding}", LENGTH, body=b"body"))

    with pytest.raises(RefusedAnswerError, match="compressed"):
        await client.get(url, compressed=True)

    assert raw.count("/a") == 1


CHUNKED = b"4\r\nbody\r\n0\r\n\r\n"
SURPLUS = [b"more", b"\r\n\r\nmore", b"\0" * 5000, answer(LENGTH, body=b"evil")]


@pytest.mark.parametrize("surplus", SURPLUS)
@pytest.mark.parametrize("apart", [True, False])
@pytest.mark.parametrize(
    "whole",
    [
        answer(LENGTH, body=b"body"),
        answer(LENGTH, "Connection: close", body=b"body"),
        answer("Transfer-Encoding: chunked", body=CHUNKED),
    ],
)
async def test_bytes_after_the_end_of_a_body_are_dropped_and_the_connection_closed(
    client: Client, raw: RawUpstream, whole: bytes, surplus: bytes, apart: bool
) -> None:
    pieces = [whole, surplus] if apart else [whole + surplus]
    url, other = raw.say("/a", *pieces), raw.say("/b", answer(LENGTH, body=b"good"))

    assert await client.get(url) == b"body"
    assert raw.count("/a") == 1
    await asyncio.to_thread(raw.wait_for_ends, 1)
    assert await client.get(other) == b"good"


@pytest.mark.parametrize("apart", [True, False])
async def test_line_end_after_the_end_of_a_body_does_no_harm(
    client: Client, raw: RawUpstream, apart: bool
) -> None:
    whole = answer(LENGTH, body=b"body")
    url = raw.say("/a", *([whole, b"\r\n"] if apart else [whole + b"\r\n"]))

    assert [await client.get(url) for _ in range(3)] == [b"body"] * 3


@pytest.mark.parametrize(
    "lines",
    [
        [LENGTH, LENGTH],
        ["Content-Length: 4, 4"],
        ["content-length:4", "CONTENT-LENGTH : 4 , 4"],
        [LENGTH, "Transfer-Encoding: identity"],
    ],
)
async def test_length_that_is_said_several_times_counts_once(
    client: Client, raw: RawUpstream, lines: list[str]
) -> None:
    assert await client.get(raw.say("/a", answer(*lines, body=b"body"))) == b"body"


async def test_chunks_count_more_than_a_length(client: Client, raw: RawUpstream) -> None:
    said = answer("Transfer-Encoding: chunked", "Content-Length: 4711", body=CHUNKED)

    assert await client.get(raw.say("/a", said)) == b"body"


@pytest.mark.parametrize(
    "lines", [[LENGTH, "Content-Length: 5"], ["Content-Length: 4, 5"], ["Content-Length: -4"]]
)
async def test_lengths_that_contradict_are_an_error_of_the_source(
    client: Client, raw: RawUpstream, lines: list[str]
) -> None:
    with pytest.raises(BrokenBodyError, match="cannot be understood"):
        await client.get(raw.say("/a", answer(*lines, body=b"body")))


async def test_coding_for_the_way_that_nobody_asked_for_is_refused_once(
    client: Client, raw: RawUpstream
) -> None:
    said = answer("Transfer-Encoding: gzip, chunked", body=CHUNKED)

    with pytest.raises(RefusedAnswerError, match="transferred as 'gzip'"):
        await client.get(raw.say("/a", said))

    assert raw.count("/a") == 1


@pytest.mark.parametrize(
    ("status", "lines"),
    [
        ("206 Partial Content", ["Content-Range: bytes 0-3/4"]),
        ("203 Non-Authoritative Information", []),
        ("200", []),
        ("200 \xf3\xf3", []),
    ],
)
async def test_answer_that_holds_the_whole_body_is_taken(
    client: Client, raw: RawUpstream, status: str, lines: list[str]
) -> None:
    said = answer(*lines, LENGTH, body=b"body", status=status)

    assert await client.get(raw.say("/a", said), size=4) == b"body"


@pytest.mark.parametrize(
    "part", ["Content-Range: bytes 0-3/9", "Content-Range: bytes 5-8/9", "X: y"]
)
async def test_part_where_the_whole_was_asked_for_is_refused_once(
    client: Client, raw: RawUpstream, part: str
) -> None:
    url = raw.say("/a", answer(part, LENGTH, body=b"body", status="206 Partial Content"))

    with pytest.raises(RefusedAnswerError, match="asked for the whole body"):
        await client.get(url)

    assert raw.count("/a") == 1


async def test_broken_chunk_ends_the_try(client: Client, raw: RawUpstream) -> None:
    raw.say("/a", answer("Transfer-Encoding: chunked"), b"4\r\nbody\r\nzz\r\n")
    url = raw.say("/a", answer(LENGTH, body=b"body"))

    assert await client.get(url) == b"body"
    assert raw.count("/a") == 2


async def test_answer_without_end_of_interim_answers_is_refused(
    client: Client, raw: RawUpstream
) -> None:
    client.fields["max_retries"] = 0
    url = raw.say("/a", b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 1000)

    with pytest.raises(BrokenBodyError, match="interim answers"):
        await client.get(url)


async def test_interim_answers_are_passed_over(client: Client, raw: RawUpstream) -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"

    assert await client.get(raw.say("/a", early + early + answer(LENGTH, body=b"body"))) == b"body"


async def test_host_that_no_resolver_takes_is_an_error_of_the_source(client: Client) -> None:
    client.fields["max_retries"] = 0

    with pytest.raises((UnreachableError, TransferError), match="http://a"):
        await client.get("http://a..b/")


async def test_backslash_in_a_url_does_not_send_credentials_to_another_host(
    client: Client, raw: RawUpstream
) -> None:
    client.fields |= {"url": "http://good/", "token": "planted"}
    url = raw.say("/a", answer(LENGTH, body=b"body")).replace("http://", "http://good\\@")

    with pytest.raises(TransferError):
        await client.get(url)

    assert raw.seen == []


@pytest.mark.parametrize(
    "said",
    [
        answer("X-Seen: planted", status="407 \xf3 planted"),
        answer("Set-Cookie: \x00planted", status="200 OK"),
        b"220 planted\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nplanted",
        answer("X-Long: " + "planted " * 10_000),
        answer(body=b"planted"),
        b"",
    ],
)
async def test_answer_of_a_proxy_tells_no_secret(
    client: Client, raw: RawUpstream, said: bytes
) -> None:
    client.fields |= {
        "max_retries": 0,
        "token": "planted",
        "proxy_url": raw.url(),
        "proxy_username": "aladdin",
        "proxy_password": "opensesame",
        "stall_timeout": 0.5,
    }
    raw.say("localhost:443", said, close=True)
    proof = base64.b64encode(b"aladdin:opensesame").decode()
    url = "https://localhost/a?sig=" + client.fields["token"]

    with pytest.raises(TransferError) as failed:
        await client.get(url)

    assert raw.seen[0].headers["proxy-authorization"] == f"Basic {proof}"
    told = everything_said(failed.value)
    assert not any(secret in told for secret in ("planted", proof, "opensesame"))


@pytest.mark.parametrize(("status", "tries"), [(408, 3), (503, 3), (501, 1), (505, 1), (410, 1)])
async def test_status_that_no_later_request_changes_is_not_tried_again(
    client: Client, raw: RawUpstream, status: int, tries: int
) -> None:
    client.fields["max_retries"] = 2
    url = raw.say("/a", answer("Content-Length: 0", status=str(status)))

    with pytest.raises(StatusError):
        await client.get(url)

    assert raw.count("/a") == tries


async def test_surplus_behind_a_large_body_is_dropped(client: Client, raw: RawUpstream) -> None:
    body = bytes(range(256)) * 10_000
    url = raw.say("/a", answer(f"Content-Length: {len(body)}", body=body + b"surplus"))

    fetched = await client.fetcher.download(client.request(url))

    assert Path(fetched.path or "").read_bytes() == body
    await asyncio.to_thread(raw.wait_for_ends, 1)
