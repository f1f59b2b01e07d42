"""A connection has one timer for the silence of its upstream."""

from collections.abc import Callable
from typing import Any

import aiohttp
import pytest

from flowsync.download.http.answer_protocol import AnswerProtocol


class Alarm:
    def __init__(self, when: float, ring: Callable[[], None]) -> None:
        self.when = when
        self.ring = ring
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Clock:
    """The loop's clock and its timers, moved by hand."""

    def __init__(self) -> None:
        self.now = 100.0
        self.alarms: list[Alarm] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, ring: Callable[[], None]) -> Alarm:
        self.alarms.append(Alarm(when, ring))
        return self.alarms[-1]

    def move_to(self, moment: float) -> None:
        while due := [a for a in self.alarms if not a.cancelled and a.when <= moment]:
            first = min(due, key=lambda alarm: alarm.when)
            self.now = max(self.now, first.when)
            self.alarms.remove(first)
            first.ring()
        self.now = moment

    @property
    def waiting(self) -> int:
        return sum(not alarm.cancelled for alarm in self.alarms)


class Wire:
    """A transport on which nothing is seen."""

    def close(self) -> None:
        pass


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def protocol(clock: Clock) -> AnswerProtocol:
    loop: Any = clock
    wire: Any = Wire()
    made = AnswerProtocol(loop)
    made.transport = wire
    return made


def await_bytes(protocol: AnswerProtocol, seconds: float | None) -> None:
    protocol.read_timeout = seconds
    protocol.start_timeout()


def test_silence_ends_the_wait_when_it_has_lasted_since_the_last_bytes(
    clock: Clock, protocol: AnswerProtocol
) -> None:
    for moment in (100.0, 104.0, 109.0):
        clock.move_to(moment)
        await_bytes(protocol, 10.0)

    clock.move_to(118.9)
    before = protocol.exception()
    clock.move_to(119.0)

    assert before is None
    assert isinstance(protocol.exception(), aiohttp.SocketTimeoutError)
    assert not clock.waiting


def test_bytes_that_come_set_no_further_timer(clock: Clock, protocol: AnswerProtocol) -> None:
    for moment in (100.0, 101.0, 102.0):
        clock.move_to(moment)
        await_bytes(protocol, 10.0)

    assert len(clock.alarms) == 1


def test_shorter_limit_of_the_next_request_counts(clock: Clock, protocol: AnswerProtocol) -> None:
    await_bytes(protocol, 300.0)
    protocol._drop_timeout()
    await_bytes(protocol, 1.0)

    clock.move_to(101.0)

    assert isinstance(protocol.exception(), aiohttp.SocketTimeoutError)


def test_silence_between_two_requests_is_no_fault(clock: Clock, protocol: AnswerProtocol) -> None:
    await_bytes(protocol, 10.0)
    protocol._drop_timeout()

    clock.move_to(1000.0)

    assert protocol.exception() is None
    assert not clock.waiting


def test_no_limit_waits_for_ever(clock: Clock, protocol: AnswerProtocol) -> None:
    await_bytes(protocol, 10.0)
    await_bytes(protocol, None)

    clock.move_to(1e6)

    assert protocol.exception() is None


def test_closed_connection_leaves_no_timer(clock: Clock, protocol: AnswerProtocol) -> None:
    await_bytes(protocol, 10.0)

    protocol.close()

    assert not clock.waiting
