"""Globs on the server mean what they mean in the standard library."""

from fnmatch import fnmatchcase

import psycopg
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from flowsync.catalog.postgres.glob import regular_expression

ALPHABET = "ab*?[]!-^/\\.()|+{}$é\n1"
GLOBS = st.text(ALPHABET, max_size=8)
TEXTS = st.lists(st.text(ALPHABET, max_size=6), min_size=1, max_size=40)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(glob=GLOBS, texts=TEXTS)
@example(glob="[b-a]", texts=["a", "b", "", "[b-a]"])
@example(glob="[!b-a]", texts=["a", "", "[!b-a]"])
@example(glob="[]a]", texts=["]", "a", "[]a]"])
@example(glob="[!]a]", texts=["]", "b", "[!]a]"])
@example(glob="[", texts=["[", ""])
@example(glob="[!]", texts=["[!]", "a"])
@example(glob="[a-c-e]", texts=["b", "-", "e", "d"])
@example(glob="[[:alpha:]]", texts=["a]", ":]", "b", "[]"])
@example(glob="a\\*", texts=["a\\b", "a*", "a"])
@example(glob="[\\]", texts=["\\", "a"])
@example(glob="*" * 20 + "b", texts=["a" * 200, "a" * 200 + "b"])
def test_glob_matches_what_fnmatch_matches(
    empty_conninfo: str, glob: str, texts: list[str]
) -> None:
    with psycopg.connect(empty_conninfo, autocommit=True) as connection:
        cursor = connection.execute(
            'SELECT t FROM unnest(%s::text[]) t WHERE t COLLATE "C" ~ %s',
            (texts, regular_expression(glob)),
        )
        matched = [text for (text,) in cursor.fetchall()]

    assert matched == [text for text in texts if fnmatchcase(text, glob)]
