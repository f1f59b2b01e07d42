"""The way of a body's bytes into its sink: unpacked if upstream compressed them, counted, written.

Decisions: docs/decisions/0012.
"""

import asyncio
import zlib
from collections.abc import Sequence
from typing import Final

from flowsync.download.transfer import response as answer
from flowsync.download.transfer.attempt import Tally
from flowsync.download.transfer.response import Verdict
from flowsync.errors import BrokenBodyError, RefusedAnswerError
from flowsync.errors.error_tree import printable
from flowsync.model.remote import FetchRequest, Fill, Sink
from flowsync.model.url import redact

ENCODINGS: Final = "gzip"
"""What `Accept-Encoding` offers where a body may be compressed. Deflate has two meanings, and
upstreams use both.
"""

_PIECE: Final = 1 << 18

_MOST_LAYERS: Final = 4
"""How often one body may be compressed."""


class Inflow:
    """Takes one answer's bytes. `encodings` are those of the body, where the request allowed any,
    in the order in which they were applied.
    """

    def __init__(
        self, request: FetchRequest, sink: Sink, tally: Tally, encodings: Sequence[str] = ()
    ) -> None:
        self._url = request.url
        self._sink = sink
        self._tally = tally
        self._layers = self._unpackers(encodings)

    def _unpackers(self, encodings: Sequence[str]) -> list["_Unpacker"]:
        if not encodings:
            return []
        shown = printable(", ".join(encodings), 100)
        if not {"gzip", "x-gzip"}.issuperset(encodings):
            raise RefusedAnswerError(redact(self._url), f"compressed as {shown!r}, not {ENCODINGS}")
        if len(encodings) > _MOST_LAYERS:
            raise RefusedAnswerError(redact(self._url), f"compressed {len(encodings)} times")
        return [_Unpacker() for _ in encodings]

    def begin(self) -> None:
        """Tell the sink that the body begins at its first byte, where its rest can be asked for."""
        if not self._layers:
            self._sink.begin(self._tally.validator)

    async def take(self, chunk: bytes) -> None:
        """Bring bytes to the sink. Raise `BrokenBodyError`, `SizeMismatchError` or
        `OversizedBodyError`.
        """
        if self._layers:
            await self._unpack(chunk, len(self._layers))
        else:
            self._tally.add(len(chunk))
            await self._sink.write(chunk)

    def direct(self, size: int) -> Fill | None:
        """Return how `size` bytes can get into the sink past this inflow, if they can. They are
        then to be counted by what brings them.
        """
        return None if self._layers else self._sink.direct(self._tally.taken + size)

    def end(self) -> None:
        """Take note that the answer has ended. Raise `BrokenBodyError` or `SizeMismatchError` when
        the body has not.
        """
        if self._layers and not all(layer.ended for layer in self._layers):
            raise BrokenBodyError(redact(self._url), "the compressed body is incomplete")
        self._tally.close()

    async def _unpack(self, chunk: bytes, layers: int) -> None:
        """Bring bytes to the sink that the first `layers` encodings cover."""
        if not layers:
            self._tally.add(len(chunk))
            await self._sink.write(chunk)
            return
        unpacker = self._layers[layers - 1]
        unpacker.feed(chunk)
        while piece := await asyncio.to_thread(self._next_piece, unpacker):
            await self._unpack(piece, layers - 1)

    def _next_piece(self, unpacker: "_Unpacker") -> bytes:
        try:
            return unpacker.take()
        except zlib.error as error:
            reason = f"the compressed body is damaged: {error}"
            raise BrokenBodyError(redact(self._url), reason) from error


def begin_inflow(
    verdict: Verdict, headers: answer.Headers, request: FetchRequest, sink: Sink, tally: Tally
) -> Inflow:
    """Return what takes the bytes of an answer that is a body or the rest of one, and note the
    length and the validator that it promises.
    """
    if "transfer-encoding" in headers and (codings := answer.transfer_codings(headers)):
        shown = printable(", ".join(codings), 100)
        raise RefusedAnswerError(redact(request.url), f"transferred as {shown!r}, as nobody asked")
    encodings = answer.encodings(headers) if request.compressed else []
    inflow = Inflow(request, sink, tally, encodings)
    # A compressed body has another length on its way, and its rest is not to be had.
    if not encodings:
        length = answer.content_length(headers)
        if length is not None:
            tally.promise(tally.taken + length)
        if verdict is Verdict.BEGIN:
            tally.validator = answer.strong_validator(headers)
    return inflow


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
        """Return the next piece, or nothing when more has to be fed. Raise `zlib.error` for bytes
        that are not gzip.
        """
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
