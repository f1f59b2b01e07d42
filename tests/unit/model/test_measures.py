"""Numbers that callers give are told apart from what only looks like one, or has no bounds."""

import math
from datetime import timedelta

import pytest

from flowsync.errors import SettingsError
from flowsync.model.measures import (
    LARGEST,
    expect_count,
    expect_measure,
    expect_number,
    expect_share,
    expect_span,
)

NO_NUMBERS = [math.nan, "3", None, True, b"1", [1]]
HUGE = 10**5000


def short(value: object) -> str:
    """Return what names a test; Python refuses to print a number of so many digits."""
    return type(value).__name__


@pytest.mark.parametrize(
    "value", [*NO_NUMBERS, math.inf, -1, 1.0, LARGEST + 1, HUGE, -HUGE], ids=short
)
def test_what_is_no_count_is_refused(value: object) -> None:
    with pytest.raises(SettingsError, match=r"^workers must be .*, found .{1,80}$"):
        expect_count("workers", value)


@pytest.mark.parametrize("value", [0, 1, LARGEST], ids=short)
def test_a_count_within_its_bounds_is_taken(value: int) -> None:
    expect_count("workers", value)


def test_a_count_may_have_no_upper_bound() -> None:
    expect_count("keep_latest", HUGE, 0, None)


@pytest.mark.parametrize(
    "value", [*NO_NUMBERS, math.inf, -math.inf, 0, -0.5, 1e300, HUGE], ids=short
)
def test_what_is_no_measure_is_refused(value: object) -> None:
    with pytest.raises(SettingsError, match=r"^timeout must be .*, found .{1,80}$"):
        expect_measure("timeout", value)


@pytest.mark.parametrize("value", [5e-324, 1, 0.5, LARGEST], ids=short)
def test_a_measure_within_its_bounds_is_taken(value: float) -> None:
    expect_measure("timeout", value)


def test_zero_is_a_measure_where_that_is_said() -> None:
    expect_measure("grace", 0, zero=True)


@pytest.mark.parametrize("value", [*NO_NUMBERS, math.inf, -0.1, 1.0000001, 2, HUGE], ids=short)
def test_what_is_no_share_is_refused(value: object) -> None:
    with pytest.raises(SettingsError, match=r"max_removal must be a share from 0 to 1, found"):
        expect_share("max_removal", value)


@pytest.mark.parametrize("value", [0, 0.5, 1, 1.0], ids=short)
def test_a_share_is_taken(value: float) -> None:
    expect_share("max_removal", value)


@pytest.mark.parametrize("value", NO_NUMBERS, ids=short)
def test_what_is_no_number_at_all_is_refused(value: object) -> None:
    with pytest.raises(SettingsError, match="drain must be a number, found"):
        expect_number("drain", value)


@pytest.mark.parametrize("value", [math.inf, -math.inf, -1, 0.5, HUGE], ids=short)
def test_any_number_is_taken_where_that_is_meant(value: float) -> None:
    expect_number("drain", value)


@pytest.mark.parametrize(
    "value", [timedelta.max, timedelta.min, timedelta(-1), 3600, None], ids=short
)
def test_a_span_that_no_clock_can_go_back_is_refused(value: object) -> None:
    with pytest.raises(SettingsError, match="older_than must be a timedelta from 0 to a hundred"):
        expect_span("older_than", value)


def test_a_span_within_its_bounds_is_taken() -> None:
    expect_span("older_than", timedelta(0))
    expect_span("older_than", timedelta(days=100 * 365))
