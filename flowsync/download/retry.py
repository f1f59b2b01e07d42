"""When a failed try is worth another one, and how long to wait before it.

1. Tries again: 408, 429 and 5xx (but for those that say "never"), no connection, a broken body, a
   time-out, a wrong size, a wrong digest. Everything else gives up at once: other statuses, a
   certificate that does not hold, a refused redirect, an answer that is refused for what it is, a
   body over the caller's limit, a file that is not there, a sink that fails; and a wrong size or
   digest where the origin is steady.
2. Waits a random time between nothing and a bound that doubles with every failure up to a cap
   ("full jitter"), so that a thousand waiting requests do not come back at once. What `Retry-After`
   asks for comes on top, up to the caller's patience, so nobody comes back before the pause that it
   means for all requests to that upstream (`gate`) is over.
3. Goes on inside the body where that is possible, otherwise begins again with an empty sink. A body
   that was whole and wrong is never continued.
4. A try that went on from bytes of an earlier transfer and made them useless (upstream has other
   ones, or they are wrong) is followed by another one at once and counts for nothing: neither
   upstream nor the caller's patience is to blame.
5. Holds no connection and no slot while it waits.
"""

import asyncio
import random
from typing import Final

import msgspec

from flowsync.download.transfer.attempt import Origin, Tally
from flowsync.errors import (
    BrokenBodyError,
    CertificateError,
    DeclarationError,
    DigestMismatchError,
    IntegrityError,
    RefusedAnswerError,
    SizeMismatchError,
    StatusError,
    TransferError,
    TransferTimeoutError,
    UnreachableError,
)
from flowsync.model.fetch import Received, Sink
from flowsync.model.remote import FetchRequest

_BUSY: Final = frozenset({408, 429})
_NEVER: Final = frozenset({501, 505, 510})
"""Not implemented, not this version of HTTP, not without an extension: what no later request of the
same kind changes.
"""

_PASSING: Final = (
    UnreachableError,
    BrokenBodyError,
    TransferTimeoutError,
    SizeMismatchError,
    DigestMismatchError,
)


class Backoff(msgspec.Struct, frozen=True, kw_only=True):
    """How long to wait between tries, in seconds.

    The first wait is at most `base`, each further one at most double, never more than `cap`.
    `patience` bounds what `Retry-After` is granted.
    """

    base: float = 1.0
    cap: float = 60.0
    patience: float = 300.0

    def __post_init__(self) -> None:
        if min(self.base, self.cap, self.patience) < 0:
            raise DeclarationError(f"waits between tries cannot be negative, found {self!r}")

    def wait(self, failures: int, asked: float | None) -> float:
        """Return how long to wait after so many failures (from 1), when upstream asked for `asked`
        seconds or for nothing.
        """
        jitter = random.uniform(0, min(self.cap, self.base * 2.0 ** min(failures - 1, 64)))  # noqa: S311 -- no secret
        return jitter + min(asked or 0.0, self.patience)


async def stream(origin: Origin, request: FetchRequest, sink: Sink, backoff: Backoff) -> Received:
    """Bring a body from `origin` into `sink` and finish it, in at most `request.remote.max_retries`
    tries after the first.

    Raise the error of the last try, with a note of how many there were.
    """
    tally = Tally(request, sink.held)
    failures = 0
    while True:
        try:
            received = await origin.attempt(request, sink, tally)
            if not received.not_modified:
                await sink.finish()
            return received
        except (TransferError, IntegrityError) as error:
            void = isinstance(error, IntegrityError) or not tally.resumable
            pause = 0.0
            if not (void and tally.inherited):
                failures += 1
                _check_hope(error, failures, origin, request)
                asked = error.retry_after if isinstance(error, StatusError) else None
                pause = backoff.wait(failures, asked)
        if void:
            await sink.restart()
            tally.reset()
        await asyncio.sleep(pause)


def _check_hope(
    error: TransferError | IntegrityError, failures: int, origin: Origin, request: FetchRequest
) -> None:
    """Raise the error when it is not worth another try, or the tries are used up."""
    if not _passing(error) or (isinstance(error, IntegrityError) and origin.steady):
        raise error
    if failures > request.remote.max_retries:
        if failures > 1:
            error.add_note(f"after {failures} tries")
        raise error


def _passing(error: TransferError | IntegrityError) -> bool:
    """Say whether the same request may well succeed later."""
    if isinstance(error, StatusError):
        return error.status in _BUSY or (error.status >= 500 and error.status not in _NEVER)
    if isinstance(error, CertificateError | RefusedAnswerError):
        return False
    return isinstance(error, _PASSING)
