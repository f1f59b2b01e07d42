"""Durations and rates as types of click's options."""

from datetime import timedelta
from typing import Any

import click

from flowsync.configuration.quantities import parse_duration, parse_rate


class Duration(click.ParamType[timedelta]):
    """A span of time: a number of seconds, or one with s, m, h, d or w."""

    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> timedelta:
        """Return the span. Fail with a usage error that shows how one is written."""
        if isinstance(value, timedelta):
            return value
        seconds = parse_duration(str(value))
        if seconds is None:
            self.fail(f"{value!r} is no duration such as 30m, 24h or 7d", param, ctx)
        return timedelta(seconds=seconds)


class Rate(click.ParamType[float]):
    """Bytes a second: a number, or one with a decimal (kB, MB) or binary (KiB, MiB) unit."""

    name = "rate"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the bytes a second. Fail with a usage error that shows how they are written."""
        rate = parse_rate(str(value))
        if rate is None:
            self.fail(f"{value!r} is no rate such as 500kB/s, 50MB/s or 100MiB/s", param, ctx)
        return rate
