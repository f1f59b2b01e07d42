"""When there is another try, and after which wait."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from flowsync.download.fetcher import Backoff, stream
from flowsync.download.transfer.attempt import Tally
from flowsync.errors import (
    BrokenBodyError,
    CertificateError,
    DeclarationError,
    DigestMismatchError,
    FlowsyncError,
    ForbiddenPathError,
    OversizedBodyError,
    RedirectError,
    SizeMismatchError,
    StatusError,
    StoreFullError,
    TransferTimeoutError,
    UnreachableError,
    UnreadableFileError,
)
from flowsync.model.remote import FetchRequest, Held, Received, Remote, Sink, Validators

URL = "test://a"
AT_ONCE = Backoff(base=0, patience=0)

Try = Callable[[Sink, Tally], Awaitable[None]]


class Scripted:
    """A world in which the tries go as they are told to."""

    def __init__(self, *tries: Try, steady: bool = False) -> None:
        self.steady = steady
        self.left = list(tries)
        self.made = 0

    async def attempt(self, request: FetchRequest, sink: Sink, tally: Tally) -> Received:
        self.made += 1
        await self.left.pop(0)(sink, tally)
        return Received(url=request.url, size=tally.taken, headers={}, validators=Validators())


class Memory:
    """A sink that finds a body wrong when it is told to expect another."""

    def __init__(self, expected: bytes | None = None, held: Held | None = None) -> None:
        self.body = bytes(held.size if held else 0)
        self.held = held
        self.restarts = 0
        self._expected = expected

    def begin(self, validator: str | None) -> None:
        pass

    async def write(self, chunk: bytes) -> None:
        self.body += chunk

    def direct(self, size: int) -> None:
        pass

    async def restart(self) -> None:
        self.body = b""
        self.restarts += 1

    async def finish(self) -> None:
        if self._expected not in {None, self.body}:
            raise DigestMismatchError(URL, "sha256", "a", "b")


def brings(chunk: bytes, error: Exception | None = None, validator: str | None = None) -> Try:
    async def attempt(sink: Sink, tally: Tally) -> None:
        tally.add(len(chunk))
        await sink.write(chunk)
        tally.validator = validator
        if error is not None:
            raise error

    return attempt


def fails(error: Exception) -> Try:
    return brings(b"", error)


def request(**fields: Any) -> FetchRequest:
    return FetchRequest(url=URL, remote=Remote(name="r", url=URL, **fields))


@pytest.mark.parametrize(
    "error",
    [
        UnreachableError(URL, "refused"),
        BrokenBodyError(URL, "broke"),
        TransferTimeoutError(URL, "stalled"),
        SizeMismatchError(URL, 1, 2),
        DigestMismatchError(URL, "md5", "a", "b"),
        StatusError(URL, "status 429", 429),
        StatusError(URL, "status 500", 500),
        StatusError(URL, "status 503", 503),
    ],
)
async def test_passing_failure_is_tried_again(error: Exception) -> None:
    world = Scripted(fails(error), fails(error), fails(error), brings(b"body"))
    sink = Memory()

    received = await stream(world, request(), sink, AT_ONCE)

    assert (sink.body, received.size, world.made) == (b"body", 4, 4)


@pytest.mark.parametrize(
    "error",
    [
        StatusError(URL, "status 400", 400),
        StatusError(URL, "status 404", 404),
        StatusError(URL, "status 304", 304),
        CertificateError(URL, "expired"),
        RedirectError(URL, "refused"),
        OversizedBodyError(URL, "long"),
        UnreadableFileError(URL, "missing"),
        ForbiddenPathError(URL, "outside"),
        StoreFullError("disk full"),
        DeclarationError("unusable certificate"),
    ],
)
async def test_lasting_failure_gives_up_at_once(error: FlowsyncError) -> None:
    world = Scripted(fails(error))

    with pytest.raises(type(error)) as given_up:
        await stream(world, request(), Memory(), AT_ONCE)

    assert given_up.value is error
    assert world.made == 1


@pytest.mark.parametrize(("retries", "tries"), [(0, 1), (1, 2), (3, 4)])
async def test_tries_are_retries_and_one(retries: int, tries: int) -> None:
    errors = [UnreachableError(URL, f"refused {number}") for number in range(tries)]
    world = Scripted(*map(fails, errors))

    with pytest.raises(UnreachableError) as given_up:
        await stream(world, request(max_retries=retries), Memory(), AT_ONCE)

    assert given_up.value is errors[-1]
    assert world.made == tries
    notes = getattr(given_up.value, "__notes__", [])
    assert notes == ([f"after {tries} tries"] if tries > 1 else [])


async def test_broken_body_with_a_strong_validator_is_continued() -> None:
    broken = BrokenBodyError(URL, "broke")
    world = Scripted(brings(b"first ", broken, '"e"'), brings(b"second"))
    sink = Memory()

    received = await stream(world, request(), sink, AT_ONCE)

    assert (sink.body, sink.restarts, received.size) == (b"first second", 0, 12)


async def test_broken_body_without_one_begins_again() -> None:
    world = Scripted(brings(b"first ", BrokenBodyError(URL, "broke")), brings(b"whole"))
    sink = Memory()

    await stream(world, request(), sink, AT_ONCE)

    assert (sink.body, sink.restarts) == (b"whole", 1)


async def test_wrong_body_is_fetched_anew_and_never_continued() -> None:
    world = Scripted(brings(b"wrong", validator='"e"'), brings(b"right"))
    sink = Memory(expected=b"right")

    await stream(world, request(), sink, AT_ONCE)

    assert (sink.body, sink.restarts) == (b"right", 1)


async def test_wrong_body_of_a_steady_origin_is_not_fetched_again() -> None:
    world = Scripted(brings(b"wrong"), steady=True)

    with pytest.raises(DigestMismatchError):
        await stream(world, request(), Memory(expected=b"right"), AT_ONCE)

    assert world.made == 1


async def test_broken_body_of_a_steady_origin_is_fetched_again() -> None:
    world = Scripted(
        brings(b"half", BrokenBodyError(URL, "changed")), brings(b"whole"), steady=True
    )
    sink = Memory()

    await stream(world, request(), sink, AT_ONCE)

    assert sink.body == b"whole"


def test_wait_is_random_below_a_bound_that_doubles_up_to_a_cap() -> None:
    backoff = Backoff(base=1.0, cap=4.0)

    bounds = [max(backoff.wait(n, None) for _ in range(2000)) for n in (1, 2, 3, 4, 5000)]

    expected = [1.0, 2.0, 4.0, 4.0, 4.0]
    assert all(0.9 * most < bound <= most for bound, most in zip(bounds, expected, strict=True))
    assert min(backoff.wait(5, None) for _ in range(2000)) < 0.1


def test_what_upstream_asks_for_is_granted_up_to_the_patience() -> None:
    backoff = Backoff(base=0.5, cap=60, patience=10)

    assert 7.0 <= backoff.wait(1, 7.0) <= 7.5
    assert 10.0 <= backoff.wait(1, 3600.0) <= 10.5


@pytest.mark.parametrize("field", ["base", "cap", "patience"])
def test_negative_waits_are_refused(field: str) -> None:
    with pytest.raises(DeclarationError, match=rf"cannot be negative.*{field}=-1"):
        Backoff(**{field: -1})
