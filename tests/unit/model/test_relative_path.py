import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowsync import problem_with_path
from flowsync.model.recordable import LONGEST_PATH, LONGEST_SEGMENT


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("", "is empty"),
        ("/a", "is absolute"),
        ("..", "contains '..'"),
        ("a/../b", "contains '..'"),
        ("./a", "contains an empty or '.' segment"),
        ("a/./b", "contains an empty or '.' segment"),
        ("a//b", "contains an empty or '.' segment"),
        ("a/", "contains an empty or '.' segment"),
        ("a\0b", "contains a control character"),
        ("a\x85b", "contains a control character"),
        ("a\udce9", "contains a lone surrogate, which no text may"),
        ("x" * 256, "has a segment of more than 255 bytes"),
        ("ü" * 128, "has a segment of more than 255 bytes"),
        ("/".join(["x" * 255] * 9), "is longer than 2048 bytes"),
        (b"a", "is no text but of type bytes"),
        (None, "is no text but of type NoneType"),
    ],
)
def test_a_path_that_leads_out_or_means_another_is_told_why(path: object, problem: str) -> None:
    assert problem_with_path(path) == problem


@pytest.mark.parametrize(
    "path",
    ["a", "a/b", "...", "..a/b..", ".hidden/.file", "a b", "ü/日本/🙂", "a\u2028b", "x" * 255],
)
def test_all_other_paths_are_taken(path: str) -> None:
    assert problem_with_path(path) is None


@given(st.text(st.sampled_from("a./\x01\x80ü\udce9\u2028"), max_size=80))
def test_a_path_is_taken_exactly_when_the_rules_say_so(path: str) -> None:
    """The quick way of short paths comes to what the rules say."""
    segments = path.split("/")
    plain = {"", ".", ".."}.isdisjoint(segments) and {"\x01", "\x80", "\udce9"}.isdisjoint(path)
    if plain:
        encoded = path.encode()
        plain = len(encoded) <= LONGEST_PATH and all(
            len(segment) <= LONGEST_SEGMENT for segment in encoded.split(b"/")
        )

    assert (problem_with_path(path) is None) is plain
