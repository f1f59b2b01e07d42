"""Durations and rates as people write them on a command line: `24h`, `7d`, `50MB/s`."""

import math
import re
from datetime import timedelta
from typing import Any, Final

import click

_AMOUNT: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)", re.IGNORECASE)
_SECONDS: Final = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 604800}
_BYTES: Final = {
    "": 1,
    "b": 1,
    **{f"{prefix}b": 1000**power for power, prefix in enumerate("kmgt", 1)},
    **{f"{prefix}ib": 1024**power for power, prefix in enumerate("kmgt", 1)},
}
_LONGEST: Final = 100 * 365 * 86400
"""Seconds in a duration at most: a hundred years."""


class Duration(click.ParamType[timedelta]):
    """A span of time: a number of seconds, or one with s, m, h, d or w."""

    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> timedelta:
        """Return the span. Fail with a usage error that shows how one is written."""
        if isinstance(value, timedelta):
            return value
        seconds = _amount(str(value), _SECONDS)
        if seconds is None or seconds > _LONGEST:
            self.fail(f"{value!r} is no duration such as 30m, 24h or 7d", param, ctx)
        return timedelta(seconds=seconds)


class Rate(click.ParamType[float]):
    """Bytes a second: a number, or one with a decimal (kB, MB) or binary (KiB, MiB) unit."""

    name = "rate"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the bytes a second. Fail with a usage error that shows how they are written."""
        rate = _amount(str(value).removesuffix("/s"), _BYTES)
        if not rate:
            self.fail(f"{value!r} is no rate such as 500kB/s, 50MB/s or 100MiB/s", param, ctx)
        return rate


def seconds_of(value: str | float) -> float:
    """Return the seconds of a span as a settings file has it: a number of them, or a text such as
    `4h`. Raise `ValueError` for any other.
    """
    found = _amount(value, _SECONDS) if isinstance(value, str) else float(value)
    if found is None or not 0 < found <= _LONGEST:
        raise ValueError(f"{value!r} is no duration such as 90, '30m' or '4h'")
    return found


def _amount(text: str, units: dict[str, int]) -> float | None:
    match = _AMOUNT.fullmatch(text.strip())
    if match is None or match[2].lower() not in units:
        return None
    amount = float(match[1]) * units[match[2].lower()]
    return amount if math.isfinite(amount) else None
