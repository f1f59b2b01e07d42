"""One request to the upstream and the answer to it, written to the wire by hand so that behaviours
can be as impolite as they like.
"""

import asyncio
import re
import socket
import ssl
from collections.abc import Callable, Mapping
from email.utils import formatdate
from http import HTTPStatus
from typing import cast

import msgspec


class Seen(msgspec.Struct, kw_only=True):
    """What the upstream saw of one request, and how many bytes of body it handed to the network for
    it.
    """

    method: str
    target: str
    headers: dict[str, str]
    status: int = 0
    sent: int = 0
    client: str | None = None


class Resource(msgspec.Struct, kw_only=True):
    """What a path has: a body with its validators. `etag` may be weak or absent."""

    body: bytes
    etag: str | None
    last_modified: str | None
    content_type: str = "application/octet-stream"
    headers: Mapping[str, str] = {}


class Answer(msgspec.Struct, kw_only=True):
    """An answer in the making."""

    status: int
    headers: dict[str, str]
    body: bytes


class Exchange:
    """One request, what the path has, and the connection."""

    def __init__(
        self,
        seen: Seen,
        resource: Resource | None,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        released: asyncio.Event,
        replace: Callable[[bytes], Resource],
    ) -> None:
        self.seen = seen
        self.closed = seen.headers.get("connection") == "close"
        self._resource = resource
        self._reader = reader
        self._writer = writer
        self._released = released
        self._replace = replace

    @property
    def socket(self) -> socket.socket:
        return cast(socket.socket, self._writer.get_extra_info("socket"))

    def replace(self, body: bytes) -> None:
        self._resource = self._replace(body)

    def answer(self, *, ranged: bool = True, shift: int = 0) -> Answer:
        """Return what a well-behaved server would answer. `shift` moves the start of a range."""
        resource = self._resource
        if resource is None:
            return Answer(status=404, headers={"Content-Length": "0"}, body=b"")
        headers = {
            "Date": formatdate(usegmt=True),
            "Content-Type": resource.content_type,
            "Accept-Ranges": "bytes",
            **resource.headers,
        }
        if resource.etag is not None:
            headers["ETag"] = resource.etag
        if resource.last_modified is not None:
            headers["Last-Modified"] = resource.last_modified
        if self._is_known(resource):
            return Answer(status=304, headers=headers, body=b"")
        first = self._first_byte(resource) if ranged else None
        status, body = 200, resource.body
        if first is not None:
            first += shift
            size = len(body)
            status, body = 206, body[first:]
            headers["Content-Range"] = f"bytes {first}-{size - 1}/{size}"
            if not body:
                headers["Content-Range"] = f"bytes */{size}"
                status = 416
        headers["Content-Length"] = str(len(body))
        return Answer(status=status, headers=headers, body=body)

    def _is_known(self, resource: Resource) -> bool:
        etag = self.seen.headers.get("if-none-match")
        if etag is not None:
            return etag == resource.etag
        since = self.seen.headers.get("if-modified-since")
        return since is not None and since == resource.last_modified

    def _first_byte(self, resource: Resource) -> int | None:
        asked = re.fullmatch(r"bytes=(\d+)-", self.seen.headers.get("range", ""))
        condition = self.seen.headers.get("if-range")
        if asked is None or condition not in {None, resource.etag, resource.last_modified}:
            return None
        return int(asked[1])

    async def send(self, answer: Answer) -> None:
        await self.send_head(answer)
        if self.seen.method != "HEAD":
            await self.send_body(answer.body)

    async def send_status(self, code: int, headers: dict[str, str]) -> None:
        body = b"" if code in {204, 304} else f"status {code}\n".encode()
        await self.send(
            Answer(status=code, headers={"Content-Length": str(len(body)), **headers}, body=body)
        )

    async def send_head(self, answer: Answer) -> None:
        self.seen.status = answer.status
        phrase = HTTPStatus(answer.status).phrase
        lines = [f"HTTP/1.1 {answer.status} {phrase}"]
        lines += [f"{name}: {value}" for name, value in answer.headers.items()]
        await self._write("\r\n".join([*lines, "", ""]).encode("latin-1"))

    async def send_body(self, data: bytes, counted: int | None = None) -> None:
        """Send bytes of the body; `counted` is how many of them are not framing."""
        self.seen.sent += len(data) if counted is None else counted
        await self._write(data)

    async def _write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def breathe(self) -> None:
        """Let what was sent go out on its own."""
        await asyncio.sleep(0.001)

    async def client_left(self) -> None:
        """Wait until the client closes the connection."""
        while await self._reader.read(1 << 16):
            pass
        self.close()

    async def released(self) -> None:
        await self._released.wait()

    def close(self) -> None:
        self.closed = True


def client_name(writer: asyncio.StreamWriter) -> str | None:
    """Return the common name of the client's certificate, if it showed one."""
    connection = cast(ssl.SSLObject | None, writer.get_extra_info("ssl_object"))
    shown = connection.getpeercert() if connection is not None else None
    if not shown:
        return None
    subject = cast(tuple[tuple[tuple[str, str], ...], ...], shown["subject"])
    return next((value for part in subject for name, value in part if name == "commonName"), None)


async def read_request(reader: asyncio.StreamReader) -> Seen:
    """Read the head of a request; repeated headers are joined by commas. Raise
    `asyncio.IncompleteReadError` at the end of the connection.
    """
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    request, *lines = head.strip().split("\r\n")
    method, target, _ = request.split(" ")
    headers: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        key = name.strip().lower()
        headers[key] = ", ".join([*([headers[key]] if key in headers else []), value.strip()])
    return Seen(method=method, target=target, headers=headers)
