"""Heads end where they end, and say once how long the body is."""

import pytest

from flowsync.download.http.answer_protocol import (
    LONGEST_HEAD,
    begins_like_http,
    end_of_head,
    is_ordinary,
    plain,
)


@pytest.mark.parametrize(
    ("data", "seen", "end"),
    [
        (b"HTTP/1.1 200 OK\r\nA: b\r\n\r\nbody", 0, 25),
        (b"HTTP/1.1 200 OK\n\nbody", 0, 17),
        (b"HTTP/1.1 200 OK\r\n\r\n", 18, 19),
        (b"HTTP/1.1 200 OK\r\n\r\n", 17, 19),
        (b"HTTP/1.1 200 OK\r\n\r", 0, None),
        (b"", 0, None),
    ],
)
def test_head_ends_with_an_empty_line(data: bytes, seen: int, end: int | None) -> None:
    assert end_of_head(data, seen) == end


@pytest.mark.parametrize(
    ("data", "like"),
    [(b"HTTP/1.1", True), (b"HT", True), (b"\r\n\r\n", True), (b"220 ", False), (b"<html>", False)],
)
def test_answer_begins_like_http(data: bytes, like: bool) -> None:
    assert begins_like_http(data) is like


def head(*lines: str) -> bytes:
    return "\r\n".join(["HTTP/1.1 200 OK", *lines, "", ""]).encode()


@pytest.mark.parametrize(
    ("lines", "left"),
    [
        (["Content-Length: 5"], ["Content-Length: 5"]),
        (["A: b", "content-length: 5", "Content-Length:5"], ["A: b", "Content-Length: 5"]),
        (["Content-Length: 5, 5", "A: b"], ["Content-Length: 5", "A: b"]),
        (
            ["X-Content-Length: 7", "Content-Length: 5"],
            ["X-Content-Length: 7", "Content-Length: 5"],
        ),
        (["Content-Length: 5", "Transfer-Encoding: chunked"], ["Transfer-Encoding: chunked"]),
        (["Content-Length: 5", "Transfer-Encoding: identity"], ["Content-Length: 5"]),
    ],
)
def test_length_is_said_once(lines: list[str], left: list[str]) -> None:
    assert plain(head(*lines)) == head(*left)


@pytest.mark.parametrize(
    "lines",
    [
        ["Content-Length: 5", "Content-Length: 6"],
        ["Content-Length: 5, 6"],
        ["Content-Length: five"],
        ["Content-Length: 5", "Content-Length:", " 5"],
        ["Content-Encoding: gzip"],
        [],
    ],
)
def test_what_contradicts_itself_stays_as_it_came(lines: list[str]) -> None:
    assert plain(head(*lines)) == head(*lines)


@pytest.mark.parametrize(
    ("data", "ordinary"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody", True),
        (b"HTTP/1.1 206 Part\r\ncontent-length:4\r\n\r\nbo", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody and more", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nX-Content-Length: 9\r\n\r\nbody", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4, 4\r\n\r\nbody", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n", False),
        (b"HTTP/1.1 200 OK\r\n\r\nbody", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n", False),
        (b"HTTP/1.1 204 No Content\r\nContent-Length: 4\r\n\r\nbody", False),
        (b"HTTP/1.1 100 Continue\r\nContent-Length: 0\r\n\r\n", False),
        (b"\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody", False),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * LONGEST_HEAD + b"\r\nContent-Length: 0\r\n\r\n", False),
    ],
)
def test_ordinary_is_what_says_its_length_once_and_ends_there(data: bytes, ordinary: bool) -> None:
    assert is_ordinary(data) is ordinary
