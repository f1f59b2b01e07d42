import enum
from typing import Annotated, Any, Literal

import pytest
from msgspec import Meta, inspect

from flowsync.configuration.kind_options import help_of, takes_items, type_in_words


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (bool, "true or false"),
        (Annotated[int, Meta(ge=1, le=9)], "integer, at least 1, at most 9"),
        (float | None, "number"),
        (
            Annotated[str, Meta(min_length=1, pattern="^[a-z]+$")],
            "text, length at least 1, that matches ^[a-z]+$",
        ),
        (Literal["a", "b"], "'a' or 'b'"),
        (Colour, "'red' or 'blue'"),
        (list[str], "list of text"),
        (frozenset[Annotated[int, Meta(gt=0)]], "list of (integer, more than 0)"),
        (tuple[bool, ...], "list of (true or false)"),
        (tuple[str, int], "list: text, integer"),
        (dict[str, int], "table of integer"),
        (str | int | None, "text or integer"),
        (Any, "any value"),
    ],
)
def test_words(kind: Any, words: str) -> None:
    assert type_in_words(inspect.type_info(kind)) == words


@pytest.mark.parametrize(
    ("kind", "takes"),
    [
        (str, False),
        (dict[str, str], False),
        (list[str] | None, True),
        (Annotated[frozenset[str], Meta(description="x")], True),
        (tuple[str, int], True),
    ],
)
def test_what_takes_items(kind: Any, takes: bool) -> None:
    assert takes_items(inspect.type_info(kind)) is takes


def test_help_is_the_description_wherever_it_stands() -> None:
    outside = Annotated[int | None, Meta(description="How deep.")]
    inside = Annotated[int, Meta(ge=1, description="How deep.")] | None

    assert help_of(inspect.type_info(outside)) == "How deep."
    assert help_of(inspect.type_info(inside)) == "How deep."
    assert help_of(inspect.type_info(int)) == ""
