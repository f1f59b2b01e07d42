import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.utils import InvalidName, canonicalize_name, is_normalized_name

from flowsync.sources.pypi.pages.names import (
    is_normalized,
    normalized,
    problem_with_filename,
    problem_with_name,
    problem_with_version,
    project_name,
)

SIGNS = st.text("aZ09._-é ", max_size=12) | st.text(max_size=5)


@given(SIGNS)
def test_names_are_spelled_and_allowed_as_packaging_has_it(name: str) -> None:
    try:
        expected = canonicalize_name(name, validate=True)
    except InvalidName:
        assert problem_with_name(name) is not None
        assert project_name(name) is None
    else:
        # Letters that are others in lower case, such as the sign of Kelvin, are no ASCII.
        assert problem_with_name(name) is None
        assert project_name(name) == expected == normalized(name)
    assert is_normalized(name) == is_normalized_name(name)


@pytest.mark.parametrize("name", ["Fx.Weird_Name", "fx-weird-name", "FX__weird.-name"])
def test_a_name_has_one_spelling(name: str) -> None:
    assert normalized(name) == "fx-weird-name" == re.sub("[-_.]+", "-", name).lower()


def test_a_name_has_128_characters_at_most() -> None:
    assert project_name("a" * 128) == "a" * 128
    assert project_name("a" * 129) is None
    assert problem_with_name("a" * 129) == "has more than 128 characters"
    assert not is_normalized("a" * 129)


@pytest.mark.parametrize(
    "filename",
    [
        "",
        ".",
        "..",
        "../x",
        "a/b",
        "a\\b",
        "a\0b",
        "é.whl",
        ".hidden",
        "-r",
        "a b",
        "a\n",
        "a" * 201,
    ],
)
def test_hostile_filenames_are_refused(filename: str) -> None:
    assert problem_with_filename(filename) is not None


def test_other_filenames_are_allowed() -> None:
    assert problem_with_filename("fx_main-1!2.0+local.1-py3-none-any.whl") is None
    assert problem_with_filename("a" * 200) is None


def test_versions_are_short_and_plain() -> None:
    assert problem_with_version("1!2.0rc1.post2.dev3+ubuntu.1") is None
    assert problem_with_version("1" * 129) == "has more than 128 characters"
    for text in ("", "1 0", "1/0", "é", "1_0"):
        assert problem_with_version(text) is not None
