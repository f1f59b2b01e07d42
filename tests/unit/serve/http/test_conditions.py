from datetime import UTC, datetime

import pytest

from flowsync.serve.http.answer import Representation, Verdict, evaluate, range_counts

NOW = Representation("abc", datetime(2026, 11, 23, 10, 0, 0, 700000, UTC))
SAME = "Mon, 23 Nov 2026 10:00:00 GMT"
BEFORE = "Mon, 23 Nov 2026 09:59:59 GMT"
AFTER = "Mon, 23 Nov 2026 10:00:01 GMT"


def test_validators_are_digest_and_date() -> None:
    assert NOW.etag == '"abc"'
    assert NOW.last_modified == SAME
    assert Representation(None, NOW.since).etag is None


@pytest.mark.parametrize(
    ("headers", "verdict"),
    [
        ({}, "go on"),
        ({"If-None-Match": '"abc"'}, "not modified"),
        ({"If-None-Match": 'W/"abc"'}, "not modified"),
        ({"If-None-Match": '"x", "abc"'}, "not modified"),
        ({"If-None-Match": "*"}, "not modified"),
        ({"If-None-Match": '"x"'}, "go on"),
        ({"If-None-Match": "abc"}, "go on"),
        ({"If-None-Match": '"x"', "If-Modified-Since": AFTER}, "go on"),
        ({"If-Modified-Since": SAME}, "not modified"),
        ({"If-Modified-Since": AFTER}, "not modified"),
        ({"If-Modified-Since": BEFORE}, "go on"),
        ({"If-Modified-Since": "yesterday"}, "go on"),
        ({"If-Modified-Since": "Mon, 23 Nov 99999999 10:00:00 GMT"}, "go on"),
        ({"If-Match": '"abc"'}, "go on"),
        ({"If-Match": "*"}, "go on"),
        ({"If-Match": 'W/"abc"'}, "failed"),
        ({"If-Match": '"x"'}, "failed"),
        ({"If-Unmodified-Since": SAME}, "go on"),
        ({"If-Unmodified-Since": BEFORE}, "failed"),
        ({"If-Match": '"abc"', "If-Unmodified-Since": BEFORE}, "go on"),
        ({"If-Match": '"abc"', "If-None-Match": '"abc"'}, "not modified"),
    ],
)
def test_conditions_come_to_a_verdict(headers: dict[str, str], verdict: Verdict) -> None:
    assert evaluate(headers, NOW) == verdict


@pytest.mark.parametrize(
    ("condition", "counts"),
    [
        (None, True),
        ('"abc"', True),
        ('W/"abc"', False),
        ('"x"', False),
        (SAME, True),
        (AFTER, False),
        ("nonsense", False),
    ],
)
def test_a_range_counts_only_for_the_body_that_is_there(
    condition: str | None, counts: bool
) -> None:
    headers = {} if condition is None else {"If-Range": condition}

    assert range_counts(headers, NOW) is counts


def test_a_body_of_unknown_digest_matches_no_tag() -> None:
    unknown = Representation(None, NOW.since)

    assert evaluate({"If-None-Match": '"abc"'}, unknown) == "go on"
    assert evaluate({"If-Match": '"abc"'}, unknown) == "failed"
