"""What answers mean."""

from typing import Any

import pytest

from flowsync.download.transfer.attempt import Tally
from flowsync.download.transfer.response import (
    Verdict,
    content_range,
    http_date,
    judge,
    retry_after,
    strong_validator,
    validators,
)
from flowsync.errors import BrokenBodyError, SizeMismatchError, StatusError
from flowsync.model.remote import FetchRequest, Remote, Validators

NOON = "Mon, 06 Jan 2025 12:00:00 GMT"
NOON_SECONDS = 1736164800.0


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ({"etag": '"a"', "last-modified": "ever"}, '"a"'),
        ({"etag": 'W/"a"', "date": NOON, "last-modified": "Mon, 06 Jan 2025 10:00:00 GMT"}, None),
        ({"date": NOON, "last-modified": "Mon, 06 Jan 2025 11:59:00 GMT"}, "same"),
        ({"date": NOON, "last-modified": "Mon, 06 Jan 2025 11:59:30 GMT"}, None),
        ({"last-modified": "Mon, 06 Jan 2025 10:00:00 GMT"}, None),
        ({"date": NOON, "last-modified": "nonsense"}, None),
        ({}, None),
    ],
)
def test_validator_is_strong_only_when_it_stands_for_the_bytes(
    headers: dict[str, str], found: str | None
) -> None:
    assert strong_validator(headers) == (headers["last-modified"] if found == "same" else found)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("bytes 5-9/10", (5, 10)),
        ("bytes 5-9/*", (5, None)),
        ("bytes 5-7/10", None),
        ("bytes */10", None),
        ("items 5-9/10", None),
        ("", None),
    ],
)
def test_content_range_counts_only_when_it_reaches_the_end(
    text: str, found: tuple[int, int | None] | None
) -> None:
    assert content_range({"content-range": text}) == found


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ({"retry-after": "120"}, 120.0),
        ({"retry-after": " 0 "}, 0.0),
        ({"retry-after": "Mon, 06 Jan 2025 12:00:30 GMT", "date": NOON}, 30.0),
        ({"retry-after": "Mon, 06 Jan 2025 12:00:30 GMT"}, 20.0),
        ({"retry-after": "Mon, 06 Jan 2025 11:00:00 GMT", "date": NOON}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-5"}, None),
        ({}, None),
    ],
)
def test_retry_after_is_read_as_seconds_or_date(
    headers: dict[str, str], found: float | None
) -> None:
    assert retry_after(headers, NOON_SECONDS + 10) == found


def test_date_is_written_as_http_writes_it() -> None:
    assert http_date(NOON_SECONDS + 0.9) == NOON


def request(**fields: Any) -> FetchRequest:
    remote = Remote(name="r", url="http://host/")
    return FetchRequest(url="http://host/a?sig=secret", remote=remote, **fields)


def tally_of(asked: FetchRequest, taken: int = 0, validator: str | None = None) -> Tally:
    tally = Tally(asked)
    tally.taken, tally.validator = taken, validator
    return tally


def verdict(
    asked: FetchRequest, tally: Tally, status: int, headers: dict[str, str] | None = None
) -> Verdict:
    return judge(asked, tally, status, "Reason", headers or {}, NOON_SECONDS)


def test_whole_body_begins() -> None:
    asked = request()

    assert verdict(asked, tally_of(asked), 200) is Verdict.BEGIN
    assert verdict(asked, tally_of(asked, 5, '"e"'), 200) is Verdict.BEGIN


def test_rest_of_the_same_body_continues() -> None:
    asked = request(size=10)
    tally = tally_of(asked, 5, '"e"')

    found = verdict(asked, tally, 206, {"content-range": "bytes 5-9/10", "etag": '"e"'})

    assert found is Verdict.CONTINUE
    assert tally.resumable


@pytest.mark.parametrize(
    "headers",
    [
        {"content-range": "bytes 6-9/10"},
        {"content-range": "bytes 0-9/10"},
        {"content-range": "bytes 5-9/10", "etag": '"other"'},
        {},
    ],
)
def test_wrong_rest_is_broken_and_begins_anew(headers: dict[str, str]) -> None:
    asked = request()
    tally = tally_of(asked, 5, '"e"')

    with pytest.raises(BrokenBodyError):
        verdict(asked, tally, 206, headers)

    assert not tally.resumable


def test_rest_of_a_body_of_another_size_is_refused() -> None:
    asked = request(size=10)

    with pytest.raises(SizeMismatchError):
        verdict(asked, tally_of(asked, 5, '"e"'), 206, {"content-range": "bytes 5-10/11"})


def test_part_that_nobody_asked_for_is_broken() -> None:
    asked = request()

    with pytest.raises(BrokenBodyError):
        verdict(asked, tally_of(asked), 206, {"content-range": "bytes 0-8/10"})


def test_rest_that_is_gone_begins_anew() -> None:
    asked = request()
    tally = tally_of(asked, 5, '"e"')

    with pytest.raises(BrokenBodyError):
        verdict(asked, tally, 416)

    assert not tally.resumable


@pytest.mark.parametrize("headers", [{}, {"etag": '"e"'}])
def test_nothing_behind_the_last_byte_means_that_the_body_is_complete(
    headers: dict[str, str],
) -> None:
    asked = request()
    tally = tally_of(asked, 5, '"e"')

    assert verdict(asked, tally, 416, {"content-range": "bytes */5", **headers}) is Verdict.COMPLETE
    assert tally.taken == 5


@pytest.mark.parametrize(
    ("known", "headers"),
    [
        ('"e"', {"content-range": "bytes */6"}),
        ('"e"', {"content-range": "bytes */4"}),
        ('"e"', {"content-range": "bytes */*"}),
        ('"e"', {"content-range": "bytes */5", "etag": '"other"'}),
        (None, {"content-range": "bytes */5"}),
    ],
)
def test_body_that_ends_elsewhere_is_not_complete(
    known: str | None, headers: dict[str, str]
) -> None:
    asked = request()
    tally = tally_of(asked, 5, known)

    with pytest.raises(BrokenBodyError):
        verdict(asked, tally, 416, headers)

    assert not tally.resumable


def test_answer_without_validators_keeps_the_one_that_was_known() -> None:
    date = "Mon, 06 Jan 2025 10:00:00 GMT"

    assert validators({}, '"e"') == Validators('"e"')
    assert validators({}, date) == Validators(None, date)
    assert validators({"etag": 'W/"e"'}, '"e"') == Validators('W/"e"')


def test_not_modified_answers_a_conditional_request_only() -> None:
    conditional = request(validators=Validators('"e"'))

    assert verdict(conditional, tally_of(conditional), 304) is Verdict.UNMODIFIED
    with pytest.raises(StatusError):
        verdict(request(), tally_of(request()), 304)


@pytest.mark.parametrize("status", [204, 304, 400, 404, 416, 429, 503])
def test_other_status_is_an_error_without_secrets(status: int) -> None:
    asked = request()

    with pytest.raises(StatusError) as refused:
        verdict(asked, tally_of(asked), status, {"retry-after": "7"})

    assert str(refused.value) == f"http://host/a?sig=***: status {status} Reason"
    assert (refused.value.status, refused.value.retry_after) == (status, 7.0)
