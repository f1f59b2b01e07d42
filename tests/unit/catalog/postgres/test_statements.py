"""The loader of named statements."""

import re
from pathlib import Path

import pytest

import flowsync.catalog
from flowsync.catalog.postgres.database import split_statements, statement, statement_names
from flowsync.errors import CatalogError

CATALOG = Path(flowsync.catalog.__file__).parent


def test_statement_is_its_sql_without_comments_and_semicolon() -> None:
    text = """-- About this file.

-- name: one
-- Does one thing.
SELECT 1; -- stays

-- name: two
SELECT
    -- Why.
    2;
"""

    assert split_statements("file.sql", text) == {
        "one": b"SELECT 1; -- stays",
        "two": b"SELECT\n    2",
    }


def test_sql_before_the_first_name_is_refused() -> None:
    with pytest.raises(CatalogError, match=r"file.sql: SQL before the first '-- name:' line"):
        split_statements("file.sql", "SELECT 1;\n-- name: two\nSELECT 2;\n")


def test_repeated_name_is_refused() -> None:
    with pytest.raises(CatalogError, match=r"file.sql: a second statement is named 'one'"):
        split_statements("file.sql", "-- name: one\nSELECT 1;\n-- name: one\nSELECT 2;\n")


def test_unknown_name_is_an_error_that_names_it() -> None:
    with pytest.raises(CatalogError, match="no statement named 'nonsense'"):
        statement("nonsense")


def test_every_statement_has_a_sentence() -> None:
    files = sorted(CATALOG.joinpath("statements").glob("*.sql"))
    texts = "\n".join(file.read_text() for file in files)

    described = re.findall(r"^-- name: (\w+)\n-- [A-Z]", texts, re.MULTILINE)

    assert sorted(described) == statement_names()


def test_every_statement_is_used() -> None:
    code = "\n".join(file.read_text() for file in CATALOG.rglob("*.py"))

    assert [name for name in statement_names() if f'"{name}"' not in code] == []
