from datetime import UTC, datetime, timedelta

import pytest

from flowsync.selection import MinimumAge, NamePatterns, Refusal, parse_size, read_time, seconds_of

NOW = datetime(2026, 12, 1, 10, tzinfo=UTC)


def test_patterns_match_whole_names() -> None:
    patterns = NamePatterns(["acme-*", "fx", "a?c", "[xy]"])

    assert [name for name in ("acme-x", "acme-", "fx", "abc", "x") if name not in patterns] == []
    assert [name for name in ("acme", "fx2", "afx", "z", "FX", "fx\n") if name in patterns] == []
    assert patterns
    assert 5 not in patterns


def test_no_patterns_match_nothing() -> None:
    assert not NamePatterns([])
    assert "" not in NamePatterns([])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-11-06T22:37:10.868088Z", datetime(2024, 11, 6, 22, 37, 10, 868088, UTC)),
        ("2024-11-06T22:37:10+02:00", datetime(2024, 11, 6, 20, 37, 10, tzinfo=UTC)),
        ("2024-11-06T22:37:10", datetime(2024, 11, 6, 22, 37, 10, tzinfo=UTC)),
        ("2024-11-06", datetime(2024, 11, 6, tzinfo=UTC)),
        (None, None),
        ("", None),
        ("yesterday", None),
        ("0001-01-01T00:00:00+05:00", None),
        ("2024-13-06", None),
    ],
)
def test_times_are_read(text: str | None, expected: datetime | None) -> None:
    assert read_time(text) == expected


def test_what_is_too_young_is_refused_until_it_is_old_enough() -> None:
    age = MinimumAge(7 * 86400, NOW)
    published = NOW - timedelta(days=6)

    refusal = age.refusal("x", published.isoformat())

    assert refusal == Refusal("x", "min_age", until=NOW + timedelta(days=1))
    assert refusal.in_words() == "left out by `min_age` until 2026-12-02 10:00 UTC"
    assert age.refusal("x", (NOW - timedelta(days=7)).isoformat()) is None
    later = MinimumAge(7 * 86400, NOW + timedelta(days=1))
    assert later.refusal("x", published.isoformat()) is None


def test_what_has_no_time_is_refused_unless_that_is_allowed() -> None:
    for text in (None, "yesterday"):
        refusal = MinimumAge(60, NOW).refusal("x", text)
        assert refusal is not None
        assert refusal.rule == "no_time"
        assert refusal.in_words() == (
            "left out by `no_time`: upstream does not tell when it was published"
        )
        assert MinimumAge(60, NOW, without_time=True).refusal("x", text) is None
        assert MinimumAge(0, NOW).refusal("x", text) is None


def test_the_end_of_time_is_no_overflow() -> None:
    refusal = MinimumAge(86400, NOW).refusal("x", "9999-12-31T23:59:59Z")

    assert refusal is not None
    assert refusal.in_words().startswith("left out by `min_age` until 9999-12-31")


def test_amounts() -> None:
    assert seconds_of("7d") == 7 * 86400
    assert parse_size("200MB") == 200_000_000
    assert parse_size("2GiB") == 2 << 30
    assert parse_size("0") == 0
    assert parse_size("9999999999 TB") is None
    assert parse_size("big") is None
