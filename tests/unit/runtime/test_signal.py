from flowsync.runtime.tasks import Signal


def test_signal_is_clear_at_first() -> None:
    assert not Signal()


def test_subscribers_are_called_when_the_level_rises() -> None:
    calls: list[str] = []
    signal = Signal()
    signal.subscribe(lambda: calls.append("first"))
    signal.subscribe(lambda: calls.append("second"))

    signal.set()

    assert signal
    assert calls == ["first", "second"]


def test_a_level_that_stays_set_calls_nobody_again() -> None:
    calls: list[str] = []
    signal = Signal()
    signal.subscribe(lambda: calls.append("woken"))

    signal.set()
    signal.set()

    assert calls == ["woken"]


def test_a_level_that_fell_rises_again() -> None:
    calls: list[str] = []
    signal = Signal()
    signal.subscribe(lambda: calls.append("woken"))

    signal.set()
    signal.clear()
    fallen = bool(signal)
    signal.set()

    assert not fallen
    assert calls == ["woken", "woken"]


def test_who_has_unsubscribed_is_not_called() -> None:
    calls: list[str] = []
    signal = Signal()
    signal.subscribe(calls.clear)
    signal.subscribe(lambda: calls.append("woken"))
    signal.unsubscribe(calls.clear)

    signal.set()

    assert calls == ["woken"]


def test_subscriber_may_unsubscribe_while_it_is_called() -> None:
    calls: list[str] = []
    signal = Signal()

    def once() -> None:
        calls.append("once")
        signal.unsubscribe(once)

    signal.subscribe(once)
    signal.subscribe(lambda: calls.append("other"))

    signal.set()

    assert calls == ["once", "other"]
