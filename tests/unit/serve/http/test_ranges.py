import pytest

from flowsync.serve.http.request import (
    Slice,
    UnsatisfiableRangeError,
    content_range,
    parse_range,
    unsatisfied_range,
)


@pytest.mark.parametrize(
    ("header", "offset", "count"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=2-4", 2, 3),
        ("bytes=2-", 2, 8),
        ("bytes=-3", 7, 3),
        ("bytes=-99", 0, 10),
        ("bytes=9-99", 9, 1),
        ("Bytes = 1-2", 1, 2),
        ("bytes=0-18446744073709551615", 0, 10),
        ("bytes=4-99999999999999999999999999", 4, 6),
        ("bytes=-18446744073709551616", 0, 10),
        ("bytes=" + "0" * 5000 + "2-" + "9" * 5000, 2, 8),
    ],
)
def test_one_range_is_a_slice(header: str, offset: int, count: int) -> None:
    """An end behind the body's is clamped."""
    assert parse_range(header, 10) == Slice(offset, count)


@pytest.mark.parametrize("header", [None, "", "bytes", "lines=1-2", "bytes=0-1,3-4"])
def test_what_is_not_one_range_of_bytes_means_the_whole(header: str | None) -> None:
    assert parse_range(header, 10) is None


@pytest.mark.parametrize(
    "header",
    [
        "bytes=10-",
        "bytes=10-11",
        "bytes=-0",
        "bytes=4-2",
        "bytes=-",
        "bytes=--3",
        "bytes=a-b",
        "bytes=-1-5",
        "bytes=+1-2",
        "bytes=99999999999999999999-",
        "bytes=" + "9" * 5000 + "-",
        "bytes=99999999999999999999-5",
    ],
)
def test_a_range_outside_of_the_body_is_refused(header: str) -> None:
    """A negative start, and a start past the end."""
    with pytest.raises(UnsatisfiableRangeError):
        parse_range(header, 10)


@pytest.mark.parametrize("header", ["bytes=0-", "bytes=-1", "bytes=0-0"])
def test_an_empty_body_has_no_range(header: str) -> None:
    with pytest.raises(UnsatisfiableRangeError):
        parse_range(header, 0)


def test_headers_of_a_part_tell_the_size() -> None:
    assert content_range(Slice(2, 3), 10) == "bytes 2-4/10"
    assert unsatisfied_range(10) == "bytes */10"
