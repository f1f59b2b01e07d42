"""Which migrations are pending, and which databases are refused."""

import pytest

from flowsync.catalog.postgres.schema import Migration, migrations, pending_migrations
from flowsync.errors import CatalogError, SchemaTooNewError

FIRST = Migration(number=1, name="initial", sql=b"CREATE TABLE a ();")
SECOND = Migration(number=2, name="more", sql=b"CREATE TABLE b ();")


def test_migrations_are_numbered_without_gaps_from_one() -> None:
    known = migrations()

    assert [migration.number for migration in known] == list(range(1, len(known) + 1))
    assert known[0].name == "initial"


def test_what_is_not_applied_is_pending_in_order() -> None:
    assert pending_migrations([FIRST, SECOND], {}) == [FIRST, SECOND]
    assert pending_migrations([FIRST, SECOND], {1: FIRST.digest}) == [SECOND]
    assert pending_migrations([FIRST, SECOND], {1: FIRST.digest, 2: SECOND.digest}) == []


def test_newer_database_is_refused() -> None:
    with pytest.raises(
        SchemaTooNewError, match="has schema 2, this flowsync knows schemas up to 1"
    ):
        pending_migrations([FIRST], {1: FIRST.digest, 2: SECOND.digest})


def test_database_that_was_migrated_by_another_text_is_refused() -> None:
    with pytest.raises(CatalogError, match=r"migrated by another text of 0001_initial\.sql"):
        pending_migrations([FIRST], {1: SECOND.digest})
