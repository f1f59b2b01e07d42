import pytest

from flowsync.cli.output import format_bytes, one_line, visible, visible_line


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (999_499, "999.5 kB"),
        (999_500, "1.0 MB"),
        (123_400_000, "123.4 MB"),
        (5e15, "5000.0 TB"),
    ],
)
def test_bytes_have_the_unit_that_leaves_few_digits(count: float, text: str) -> None:
    assert format_bytes(count) == text


def test_a_message_is_one_line_that_no_terminal_obeys() -> None:
    said = one_line("failed:\n  evil\x1b[31m\x9b  name\tü \u202e")

    assert said == "failed: evil\\x1b[31m\\x9b name ü \\u202e"


@pytest.mark.parametrize(
    ("text", "shown", "line"),
    [
        ("a  b/grün", "a  b/grün", "a  b/grün"),
        ("a\x1b[31m", "a\\x1b[31m", "a\\x1b[31m"),
        ("a\x9b\r", "a\\x9b\\r", "a\\x9b\\r"),
        ("a\nb\t", "a\nb\\t", "a\\nb\\t"),
        ("a\udcf3", "a\\xf3", "a\\xf3"),
        ("a\ud800", "a\\ud800", "a\\ud800"),
    ],
)
def test_what_a_terminal_would_obey_is_escaped(text: str, shown: str, line: str) -> None:
    assert visible(text) == shown
    assert visible_line(text) == line
