"""Numbers that callers give: counts, measures such as seconds and shares, and spans of time. Pure.

1. A truth value, a text, NaN and infinity are none.
2. All have bounds: timers, the database and the system take no number that is too large.
3. An error shows what was found, also a number of thousands of digits.
"""

import math
from datetime import timedelta
from typing import Final, TypeGuard

from flowsync.errors import SettingsError
from flowsync.errors.error_tree import printable

LARGEST: Final = 10**9
"""The most of a number, where nothing else bounds it: a thousand million seconds are 31 years."""

SMALLEST: Final = 1 / LARGEST
"""The least of a rate."""

LARGEST_RATE: Final = LARGEST**2
"""The most of a rate, and of bytes."""

MOST_WORKERS: Final = 1024
"""Processes that one engine may have for one kind of work: more than any machine has cores for."""

MOST_CONNECTIONS: Final = 262_143
"""What a server of PostgreSQL can be set to take at most."""

LONGEST_SPAN: Final = timedelta(days=100 * 365)
"""A hundred years: clocks and databases count far back, not without end."""


def problem_with_count(value: object, least: int = 0, most: int | None = LARGEST) -> str | None:
    """Return what keeps `value` from being a whole number within bounds, such as "must be at least
    1, found 0"; None when nothing does.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        return f"must be a whole number of at least {least}, found {_shown(value)}"
    if value < least:
        return f"must be at least {least}, found {_shown(value)}"
    if most is not None and value > most:
        return f"must be at most {most}, found {_shown(value)}"
    return None


def problem_with_measure(
    value: object, wanted: str, *, least: float = 0.0, most: float = LARGEST, zero: bool = False
) -> str | None:
    """Return what keeps `value` from being a finite number within bounds, of which 0 is one only
    with `zero`; None when nothing does. `wanted` says in words what it is to be.
    """
    if not _is_finite(value):
        return f"must be {wanted}, found {_shown(value)}"
    if least <= value <= most and (value > 0 or zero):
        return None
    return f"must be {f'at most {most}' if value > most else wanted}, found {_shown(value)}"


def expect_count(what: str, value: object, least: int = 0, most: int | None = LARGEST) -> None:
    """Raise `SettingsError` unless `value` is a whole number within bounds; `what` names it."""
    problem = problem_with_count(value, least, most)
    if problem is not None:
        raise SettingsError(f"{what} {problem}")


def expect_measure(
    what: str,
    value: object,
    wanted: str = "a positive number of seconds",
    *,
    least: float = 0.0,
    most: float = LARGEST,
    zero: bool = False,
) -> None:
    """Raise `SettingsError` unless `value` is a finite number within bounds; `what` names it, and
    the others are as in `problem_with_measure`.
    """
    problem = problem_with_measure(value, wanted, least=least, most=most, zero=zero)
    if problem is not None:
        raise SettingsError(f"{what} {problem}")


def expect_number(what: str, value: object) -> None:
    """Raise `SettingsError` unless `value` is a number, which may be negative, or infinite."""
    if not (_is_finite(value) or (isinstance(value, float) and math.isinf(value))):
        raise SettingsError(f"{what} must be a number, found {_shown(value)}")


def expect_share(what: str, value: object) -> None:
    """Raise `SettingsError` unless `value` is a number from 0 to 1."""
    if not _is_finite(value) or not 0 <= value <= 1:
        raise SettingsError(f"{what} must be a share from 0 to 1, found {_shown(value)}")


def expect_span(what: str, value: object) -> None:
    """Raise `SettingsError` unless `value` is a `timedelta` from nothing to a hundred years."""
    if isinstance(value, timedelta) and timedelta(0) <= value <= LONGEST_SPAN:
        return
    raise SettingsError(f"{what} must be a timedelta from 0 to a hundred years, found {value!r}")


def _is_finite(value: object) -> TypeGuard[float]:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    # An integer may be too long for `isfinite`.
    return isinstance(value, int) or math.isfinite(value)


def _shown(value: object) -> str:
    # Python refuses to print integers of thousands of digits.
    if isinstance(value, int) and abs(value) > LARGEST**4:
        return "a number of many digits"
    return printable(repr(value), 80)
