from collections.abc import Mapping

import pytest

from flowsync import Fetched, Validators
from flowsync.model.repository import is_strong

OLD = {"date": "Mon, 01 Jan 2024 10:00:05 GMT", "last-modified": "Mon, 01 Jan 2024 10:00:00 GMT"}
YOUNG = {**OLD, "date": "Mon, 01 Jan 2024 10:00:01 GMT"}
NGINX = '"65928d20-2c"'
DIGEST = f'"{"0123456789abcdef" * 4}"'


def fetched(etag: str | None, headers: Mapping[str, str], *, not_modified: bool = False) -> Fetched:
    return Fetched(
        url="http://h/",
        path=None,
        size=0,
        digests={},
        headers=headers,
        validators=Validators(etag),
        not_modified=not_modified,
    )


@pytest.mark.parametrize(
    ("tag", "strong"),
    [
        ('"a"', True),
        ('""', True),
        ('W/"a"', False),
        ("a", False),
        ('"a', False),
        ('"a"b"', False),
        ('"\xe9"', False),
        ('"\udce9"', False),
        ('"a b"', False),
        (None, False),
    ],
)
def test_strong_tags_are_quoted_ascii(tag: str | None, strong: bool) -> None:
    assert is_strong(tag) is strong


@pytest.mark.parametrize(
    ("tag", "headers", "proves"),
    [
        (NGINX, OLD, True),
        (NGINX, YOUNG, False),
        (DIGEST, YOUNG, True),
        ('W/"a"', OLD, False),
        (None, OLD, False),
        ('"opaque"', {}, True),
        ('"opaque"', {**OLD, "date": "yesterday"}, False),
        ('"opaque"', {**OLD, "last-modified": "Mon, 01 Jan 2024 10:00:00 +99999999999999"}, False),
        ('"opaque"', {"last-modified": OLD["last-modified"]}, False),
    ],
)
def test_a_tag_proves_nothing_while_the_body_is_so_young_that_its_date_hides_a_change(
    tag: str | None, headers: Mapping[str, str], proves: bool
) -> None:
    assert fetched(tag, headers).proof == (tag if proves else None)


@pytest.mark.parametrize(
    ("answered", "confirmed"), [('"a"', True), (None, True), ('"b"', False), ('W/"a"', False)]
)
def test_not_modified_counts_for_the_tag_that_was_asked_for(
    answered: str | None, confirmed: bool
) -> None:
    assert fetched(answered, OLD, not_modified=True).confirms('"a"') is confirmed
    assert not fetched(answered, OLD).confirms('"a"')
