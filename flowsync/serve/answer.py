"""What is asked and what is answered, as values: the wall between the decisions and the HTTP server.

A body is bytes, or a part of an open file, which goes out without passing through this process's memory, or a flow that comes piece by piece.
Who sends the answer closes the file or the flow, in any case.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import BinaryIO

import msgspec

from flowsync.serve.ranges import Slice


class Asked(msgspec.Struct, frozen=True):
    """A request: method and target as in its first line, and its headers, whose names compare in any case."""

    method: str
    target: str
    headers: Mapping[str, str]


class OpenPart(msgspec.Struct, frozen=True):
    """A part of an open file."""

    file: BinaryIO
    part: Slice


class Flow(msgspec.Struct, frozen=True):
    """A body that comes piece by piece. `leave` is due in any case, also when no piece was ever asked for."""

    pieces: AsyncGenerator[bytes, None]
    leave: Callable[[], Awaitable[None]]


Body = bytes | OpenPart | Flow


class Answer(msgspec.Struct, kw_only=True):
    """A status, headers, and a body; `length` is what `Content-Length` says, `None` while nobody knows.

    Without a body the length is that of the body which a HEAD request does not get.
    """

    status: int = 200
    headers: dict[str, str] = {}
    body: Body = b""
    length: int | None = 0


def plain(status: int, text: str, **headers: str) -> Answer:
    """Return an answer that says one line. In names of headers, `_` stands for `-`."""
    body = f"{text}\n".encode()
    return Answer(
        status=status,
        headers={
            "Content-Type": "text/plain; charset=utf-8",
            "Cache-Control": "no-store",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        },
        body=body,
        length=len(body),
    )
