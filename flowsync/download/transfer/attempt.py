"""The seam between trying and trying again: an `Origin` makes one try at a body, a `Tally` carries
what the tries before it have brought.

Decisions: docs/decisions/0012.
"""

from typing import Protocol

from flowsync.errors import OversizedBodyError, SizeMismatchError
from flowsync.model.remote import FetchRequest, Held, Received, Sink
from flowsync.model.url import redact


class Origin(Protocol):
    """Brings bodies from URLs of some schemes. Shared by all tasks of one loop."""

    @property
    def steady(self) -> bool:
        """Whether a body that was whole and wrong would be the same if it were fetched again."""

    async def attempt(self, request: FetchRequest, sink: Sink, tally: "Tally") -> Received:
        """Make one try at a body, from where `tally` stands. Raise `TransferError` or
        `SizeMismatchError`; what the sink raises passes unchanged.
        """


class Tally:
    """What the tries at one body have brought so far. Lives as long as one `stream` call.

    `taken` counts the bytes in the sink. `validator` is the strong validator by which the rest of
    the same body can be asked for, or `None`. `inherited` says that the first of the bytes were
    there before: `held` by the sink.
    """

    __slots__ = ("_request", "inherited", "taken", "validator")

    def __init__(self, request: FetchRequest, held: Held | None = None) -> None:
        self._request = request
        self.taken = 0
        self.validator: str | None = None
        self.inherited = held is not None
        if held is not None:
            self.taken, self.validator = held.size, held.validator

    @property
    def resumable(self) -> bool:
        """Whether the next try can go on where the last one broke."""
        return self.taken > 0 and self.validator is not None

    def reset(self) -> None:
        """Begin again at the first byte; the sink is empty again."""
        self.taken = 0
        self.validator = None
        self.inherited = False

    def promise(self, length: int) -> None:
        """Take note that upstream announces a body of `length` bytes. Raise `SizeMismatchError` or
        `OversizedBodyError` if that is not wanted.
        """
        size = self._request.size
        if size is not None and length != size:
            raise SizeMismatchError(redact(self._request.url), size, length)
        self._refuse_beyond(self._request.max_size, length)

    def add(self, length: int) -> None:
        """Count `length` bytes more. Raise `SizeMismatchError` or `OversizedBodyError` as soon as
        they are too many.
        """
        self.taken += length
        size = self._request.size
        if size is not None and self.taken > size:
            raise SizeMismatchError(redact(self._request.url), size, self.taken)
        self._refuse_beyond(self._request.max_size, self.taken)

    def close(self) -> None:
        """Take note that the body has ended. Raise `SizeMismatchError` when bytes are missing."""
        size = self._request.size
        if size is not None and self.taken != size:
            raise SizeMismatchError(redact(self._request.url), size, self.taken)

    def _refuse_beyond(self, limit: int | None, length: int) -> None:
        if limit is not None and length > limit:
            url = redact(self._request.url)
            raise OversizedBodyError(url, f"{length} bytes or more, at most {limit} are taken")
