"""Accounts that keep to a rate."""

from flowsync.download.pacing.gate import Spacing


def test_pieces_are_spaced_by_what_the_rate_grants_them() -> None:
    account = Spacing()

    account.book(10.0, 0.5)
    assert account.level_at == 10.5
    account.book(10.1, 0.25)
    assert account.level_at == 10.75


def test_time_that_went_by_unused_is_not_saved_up() -> None:
    account = Spacing()
    account.book(10.0, 0.5)

    account.book(100.0, 0.5)

    assert account.level_at == 100.5


def test_credit_saves_up_a_little() -> None:
    account = Spacing()
    account.book(10.0, 0.5)

    account.book(100.0, 0.5, credit=0.1)

    assert account.level_at == 100.4
