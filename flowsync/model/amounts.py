"""Durations, sizes and rates as people write them: `24h`, `7d`, `200MB`, `50MB/s`. Pure."""

import math
import re
from typing import Final

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


def parse_duration(text: str) -> float | None:
    """Return the seconds of a duration: a number of them, or one with s, m, h, d or w. Return
    `None` for any other text.
    """
    seconds = _amount(text, _SECONDS)
    return None if seconds is None or seconds > _LONGEST else seconds


def parse_rate(text: str) -> float | None:
    """Return the bytes a second of a rate: a number, or one with a decimal (kB, MB) or binary (KiB,
    MiB) unit. Return `None` for any other text, and for zero.
    """
    return _amount(text.removesuffix("/s"), _BYTES) or None


def parse_size(text: str) -> int | None:
    """Return the bytes of a size: a number, or one with a decimal (kB, MB) or binary (KiB, MiB)
    unit. Return `None` for any other text.
    """
    amount = _amount(text, _BYTES)
    return None if amount is None or amount >= 1 << 63 else int(amount)


def seconds_of(value: str | float) -> float:
    """Return the seconds of a span as a settings file has it: a number of them, or a text such as
    `4h`. Raise `ValueError` for any other.
    """
    found = parse_duration(value) if isinstance(value, str) else float(value)
    if found is None or not 0 < found <= _LONGEST:
        raise ValueError(f"{value!r} is no duration such as 90, '30m' or '4h'")
    return found


def _amount(text: str, units: dict[str, int]) -> float | None:
    match = _AMOUNT.fullmatch(text.strip())
    if match is None or match[2].lower() not in units:
        return None
    amount = float(match[1]) * units[match[2].lower()]
    return amount if math.isfinite(amount) else None
