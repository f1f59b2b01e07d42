from datetime import timedelta

import click
import pytest

from flowsync.cli.sync_arguments import Duration, Rate


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("90", 90),
        ("30m", 1800),
        ("1.5h", 5400),
        ("24H", 86400),
        ("7d", 604800),
        ("2 w", 1209600),
    ],
)
def test_duration(text: str, seconds: int) -> None:
    assert Duration().convert(text, None, None) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "soon", "-1h", "1h30m", "5 years", "9999999999999d"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="no duration such as 30m, 24h or 7d"):
        Duration().convert(text, None, None)


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("500", 500),
        ("500kB/s", 500e3),
        ("50MB/s", 50e6),
        ("1.5 GB", 1.5e9),
        ("100MiB/s", 104857600),
    ],
)
def test_rate(text: str, rate: float) -> None:
    assert Rate().convert(text, None, None) == rate


@pytest.mark.parametrize("text", ["", "0", "fast", "-5MB/s", "5MB/min"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="no rate such as"):
        Rate().convert(text, None, None)
