"""The way of a body's bytes into its sink: unpacked if upstream compressed them, counted, written.

Decided: compressed bodies are unpacked here and not by the HTTP client, because the client takes a compressed body that ends too early for a whole
one. Unpacking goes to a thread piece by piece: a few bytes may stand for a gigabyte, which neither memory nor the loop has to spare.
"""

import asyncio
import zlib
from typing import Final

from flowsync.download import answer
from flowsync.download.answer import Verdict
from flowsync.download.origin import Tally
from flowsync.model.transfer import FetchRequest, Fill, Sink
from flowsync.model.transfer_errors import BrokenBodyError
from flowsync.model.url import redact

ENCODINGS: Final = "gzip"
"""What `Accept-Encoding` offers where a body may be compressed. Deflate has two meanings, and upstreams use both."""

_PIECE: Final = 1 << 18


class Inflow:
    """Takes one answer's bytes. `encoding` is the answer's `Content-Encoding` if the request allowed one, else `None`."""

    def __init__(
        self, request: FetchRequest, sink: Sink, tally: Tally, encoding: str | None
    ) -> None:
        self._url = request.url
        self._sink = sink
        self._tally = tally
        self._unpacker = None if encoding is None else self._new_unpacker(encoding)

    def _new_unpacker(self, encoding: str) -> "_Unpacker":
        if encoding.lower() not in {"gzip", "x-gzip"}:
            raise BrokenBodyError(redact(self._url), f"compressed as {encoding!r}, not {ENCODINGS}")
        return _Unpacker()

    async def take(self, chunk: bytes) -> None:
        """Bring bytes to the sink. Raise `BrokenBodyError`, `SizeMismatchError` or `OversizedBodyError`."""
        if self._unpacker is None:
            await self._put(chunk)
            return
        self._unpacker.feed(chunk)
        while piece := await asyncio.to_thread(self._unpack, self._unpacker):
            await self._put(piece)

    def direct(self, size: int) -> Fill | None:
        """Return how `size` bytes can get into the sink past this inflow, if they can. They are then to be counted by whoever brings them."""
        return None if self._unpacker else self._sink.direct(self._tally.taken + size)

    def end(self) -> None:
        """Take note that the answer has ended. Raise `BrokenBodyError` or `SizeMismatchError` when the body has not."""
        if self._unpacker is not None and not self._unpacker.ended:
            raise BrokenBodyError(redact(self._url), "the compressed body is incomplete")
        self._tally.close()

    async def _put(self, chunk: bytes) -> None:
        self._tally.add(len(chunk))
        await self._sink.write(chunk)

    def _unpack(self, unpacker: "_Unpacker") -> bytes:
        try:
            return unpacker.take()
        except zlib.error as error:
            reason = f"the compressed body is damaged: {error}"
            raise BrokenBodyError(redact(self._url), reason) from error


def begin_inflow(
    verdict: Verdict, headers: answer.Headers, request: FetchRequest, sink: Sink, tally: Tally
) -> Inflow:
    """Return what takes the bytes of an answer that is a body or the rest of one, and note the length and the validator that it promises."""
    encoding = headers.get("content-encoding") if request.compressed else None
    # A compressed body has another length on its way, and its rest is not to be had.
    if encoding is None:
        length = answer.content_length(headers)
        if length is not None:
            tally.promise(tally.taken + length)
        if verdict is Verdict.BEGIN:
            tally.validator = answer.strong_validator(headers)
            sink.begin(tally.validator)
    return Inflow(request, sink, tally, encoding)


class _Unpacker:
    """Unpacks gzip members one after another, in pieces of bounded size."""

    def __init__(self) -> None:
        self._rest = b""
        self._begun = False
        self._member = _new_member()

    @property
    def ended(self) -> bool:
        """Whether the last member is complete. An answer without a single byte is complete too."""
        return not self._begun or (self._member.eof and not self._rest)

    def feed(self, chunk: bytes) -> None:
        self._begun = True
        self._rest += chunk

    def take(self) -> bytes:
        """Return the next piece, or nothing when more has to be fed. Raise `zlib.error` for bytes that are not gzip."""
        while self._rest:
            if self._member.eof:
                self._member = _new_member()
            piece = self._member.decompress(self._rest, _PIECE)
            member = self._member
            self._rest = member.unused_data if member.eof else member.unconsumed_tail
            if piece:
                return piece
        return b""


def _new_member() -> "zlib._Decompress":
    # 16 more than the largest window says: gzip, with its checksum.
    return zlib.decompressobj(16 + zlib.MAX_WBITS)
