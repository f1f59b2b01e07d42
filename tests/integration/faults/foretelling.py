"""Faults drawn at random, and what can be foretold of a download that meets them.

The model is coarse on purpose: it knows of each behaviour whether that request brings the body,
fails, may do either, or ends the download for good, and says of a download only what holds however
its requests are continued, shared or repeated by the HTTP client.
"""

import enum
from collections.abc import Callable, Sequence
from random import Random

import msgspec

from tests.upstream.behaviours import (
    Behaviour,
    Change,
    Chunked,
    Corrupt,
    Cut,
    Drip,
    Drop,
    Garbage,
    Good,
    Gzip,
    HalfHead,
    Hang,
    IgnoreRange,
    Lie,
    Redirect,
    Reset,
    Status,
    Unmeasured,
    WrongRange,
)


class Outcome(enum.Enum):
    """What one request comes to."""

    RIGHT = "it brings the body"
    FAILED = "it fails, and the next one may not"
    EITHER = "it may do either: what counts is how much is asked for"
    FINAL = "it fails, and nobody asks again"


class Verdict(enum.Enum):
    """What can be said of a download before it is tried."""

    SURE = "it succeeds"
    OPEN = "it may do either"
    DOOMED = "it fails"


class Fault(msgspec.Struct, frozen=True):
    behaviour: Behaviour
    outcome: Outcome


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """What upstream does with one path: the body it has at first, what happens to the next
    requests, and to all that follow them.

    `moved` is where a redirect leads: a path that always has the right body.
    """

    path: str
    body: bytes
    etag: str | None = "strong"
    faults: tuple[Fault, ...] = ()
    last: Fault = Fault(Good(), Outcome.RIGHT)
    moved: tuple[str, bytes] | None = None

    def verdict(self, tries: int) -> Verdict:
        """Foretell a download that has so many tries to lose."""
        lucky = False
        for lost, fault in enumerate((*self.faults, self.last)):
            if fault.outcome is Outcome.RIGHT:
                return Verdict.SURE if lost <= tries else Verdict.OPEN
            if fault.outcome is Outcome.FINAL:
                break
            lucky = lucky or fault.outcome is Outcome.EITHER
        return Verdict.OPEN if lucky else Verdict.DOOMED


Draw = Callable[[Random, int], Fault]
"""Draws a fault for a body of some size."""


def failed(behaviour: Behaviour) -> Fault:
    return Fault(behaviour, Outcome.FAILED)


def either(behaviour: Behaviour) -> Fault:
    return Fault(behaviour, Outcome.EITHER)


def right(behaviour: Behaviour) -> Fault:
    return Fault(behaviour, Outcome.RIGHT)


def final(behaviour: Behaviour) -> Fault:
    return Fault(behaviour, Outcome.FINAL)


def _corrupt(random: Random, size: int) -> Fault:
    # An empty body has no byte that could be wrong.
    return failed(Corrupt(random.randrange(size))) if size else right(Good())


def _busy(random: Random, size: int) -> Fault:
    asked = random.choice([None, "0", "3600", "Fri, 31 Dec 2100 00:00:00 GMT", "soon"])
    return failed(Status(random.choice([429, 500, 502, 503]), retry_after=asked))


# Without a length, a digest or a number of lines nothing tells a whole manifest from its beginning;
# so nothing here shortens one unnoticed.
ON_EVERY_BODY: list[Draw] = [
    lambda random, size: either(Cut(random.randrange(size + 1))),
    lambda random, size: either(Reset(random.randrange(size + 1))),
    lambda random, size: either(Lie(random.choice([1, 1000]))),
    lambda random, size: either(Chunked(random.choice([100_000, 7000]), cut=True)),
    _busy,
    _busy,
    lambda random, size: either(WrongRange(random.choice([1, size + 1]))),
    lambda random, size: either(Gzip(15)),
    lambda random, size: failed(Garbage()),
    lambda random, size: failed(HalfHead()),
    lambda random, size: failed(Drop()),
    lambda random, size: right(Drip(size // 3 + 1)),
    lambda random, size: right(Unmeasured()),
    lambda random, size: right(Chunked(random.choice([100_000, 7000]))),
    lambda random, size: right(IgnoreRange()),
]

ON_FILES: list[Draw] = [
    *ON_EVERY_BODY,
    _corrupt,
    _corrupt,
    lambda random, size: either(Lie(-1)),
    lambda random, size: either(Unmeasured(random.randrange(size + 1))),
    lambda random, size: either(Gzip(None)),
]

ON_MANIFESTS: list[Draw] = [*ON_EVERY_BODY, lambda random, size: right(Gzip(None))]

STALLS: list[Draw] = [
    lambda random, size: either(Hang(random.randrange(size + 1))),
    lambda random, size: failed(Hang()),
]


def draw_file(random: Random, path: str, body: bytes, *, stalls: bool) -> Route:
    """Draw what happens to the requests of a file."""
    faults = _draw_faults(random, [*ON_FILES, *(STALLS if stalls else [])], len(body))
    etag = random.choice(["strong", "strong", "weak", None])
    kind = random.random()
    if kind < 0.15 and body:
        return _changed(random, path, body, etag, faults)
    if kind < 0.25:
        moved = f"{path}.moved"
        faults = (*faults, right(Redirect(moved)))
        return Route(path=path, body=body, etag=etag, faults=faults, moved=(moved, body))
    last = right(Good())
    if kind < 0.4:
        last = _draw_end(random, path, body)
    return Route(path=path, body=body, etag=etag, faults=faults, last=last)


def draw_manifest(random: Random, path: str, body: bytes, *, stalls: bool, first: bool) -> Route:
    """Draw what happens to the requests of a manifest; `first` says that nobody has seen an earlier
    one.
    """
    faults = _draw_faults(random, [*ON_MANIFESTS, *(STALLS if stalls else [])], len(body))
    last = right(Good())
    if random.random() < 0.1:
        last = random.choice([final(Status(404)), final(Redirect(path))])
    elif first and body and random.random() < 0.1:
        # Whoever knows the manifest gets a 304, which nothing corrupts.
        last = final(Corrupt(random.randrange(len(body))))
    return Route(path=path, body=body, faults=faults, last=last)


def _draw_faults(random: Random, draws: Sequence[Draw], size: int) -> tuple[Fault, ...]:
    return tuple(random.choice(draws)(random, size) for _ in range(random.randrange(5)))


def _draw_end(random: Random, path: str, body: bytes) -> Fault:
    ends = [final(Status(random.choice([403, 404, 410]))), final(Redirect(path))]
    if body:
        ends += [
            final(Corrupt(random.randrange(len(body)))),
            final(Change(random.randbytes(len(body)))),
        ]
    return random.choice(ends)


def _changed(
    random: Random, path: str, body: bytes, etag: str | None, faults: tuple[Fault, ...]
) -> Route:
    """Let upstream have another body until the last fault is over."""
    outdated = random.randbytes(len(body))
    if outdated == body:
        outdated = bytes(byte ^ 1 for byte in body)
    wrong = [failed(fault.behaviour) for fault in faults]
    # The request that finds the right body may ask for the rest of the wrong one.
    return Route(
        path=path,
        body=outdated,
        etag=etag,
        faults=(*wrong, failed(Change(body))),
        last=right(Good()),
    )
