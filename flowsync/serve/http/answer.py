"""What is asked and what is answered, as values: the wall between the decisions and the HTTP
server.

A body is bytes, or a part of an open file, which goes out without passing through this process's
memory, or a flow that comes piece by piece. Who sends the answer closes the file or the flow, in
any case.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import BinaryIO

import msgspec

from flowsync.serve.http.ranges import Slice


class Asked(msgspec.Struct, frozen=True):
    """A request: method and target as in its first line, and its headers, whose names compare in
    any case.

    `chunks` says that its client understands chunks: only these show whether a body whose length
    nobody knew is whole.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    chunks: bool = True


class OpenPart(msgspec.Struct, frozen=True):
    """A part of an open file."""

    file: BinaryIO
    part: Slice


class Unreadable(msgspec.Struct, frozen=True):
    """Why a part of a file cannot be had; `there` says that something stands under its name."""

    reason: str
    there: bool


class Flow(msgspec.Struct, frozen=True):
    """A body that comes piece by piece. `leave` is due in any case, also when no piece was ever
    asked for.
    """

    pieces: AsyncGenerator[bytes, None]
    leave: Callable[[], Awaitable[None]]


Body = bytes | OpenPart | Flow


class Answer(msgspec.Struct, kw_only=True):
    """A status, headers, and a body; `length` is what `Content-Length` says, `None` while nobody
    knows.

    Without a body the length is that of the body which a HEAD request does not get. When an open
    part cannot be read to its end, `rest` gives the bytes from an offset of the file on. A
    refusal that `is_worded` is in the words of a kind of source.
    """

    status: int = 200
    headers: dict[str, str] = {}
    body: Body = b""
    length: int | None = 0
    rest: Callable[[int], Awaitable["Flow"]] | None = None
    is_worded: bool = False


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
