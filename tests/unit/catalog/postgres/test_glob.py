"""Globs as regular expressions, by their text; their meaning is shown on a server."""

import pytest

from flowsync.catalog.postgres.glob import regular_expression


@pytest.mark.parametrize(
    ("glob", "expected"),
    [
        ("", "^$"),
        ("abc1", "^abc1$"),
        ("*", "^.*$"),
        ("a?b", "^a.b$"),
        ("a.b", r"^a\U0000002eb$"),
        ("é", r"^\U000000e9$"),
        ("[ab]", "^[ab]$"),
        ("[!a-c]", "^[^a-c]$"),
        ("[]]", r"^[\U0000005d]$"),
        ("[a", r"^\U0000005ba$"),
    ],
)
def test_expression(glob: str, expected: str) -> None:
    assert regular_expression(glob) == expected


def test_nothing_but_letters_digits_and_the_expressions_own_signs_goes_out() -> None:
    hostile = "".join(map(chr, range(1, 128))).replace("[", "")

    found = set(regular_expression(hostile))

    assert found - set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") == set(
        "^$.*\\"
    )
