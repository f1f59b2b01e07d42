"""The schema of the database: numbered SQL files, applied in order and each once.

1. Files are `migrations/NNNN_name.sql`. Those not yet applied run in one transaction, under one
   advisory lock a schema: of several first starts one migrates and the others find it done; a
   migration that fails leaves the database as it was.
2. The table `schema_version` records number, name and digest of each. A database that a newer
   flowsync migrated is refused, and so is one whose applied migrations read differently than ours:
   both are told apart from a broken database.
3. A start that finds everything applied makes one query and takes no lock.

Also here: the id of a catalog.
"""

import hashlib
from importlib.resources import files
from typing import Any, Final
from uuid import UUID

import msgspec
from psycopg import AsyncConnection

from flowsync.errors import CatalogError, SchemaTooNewError

_LOCK: Final = 0x666C6F7773796E63
"""What the key of the advisory lock is made of, with the name of the schema ("flowsync" in ASCII):
one number, apart from the two-number keys of repositories."""

_KEY: Final = "hashtextextended(coalesce(current_schema(), ''), %s)"


class Migration(msgspec.Struct, frozen=True, kw_only=True):
    """One numbered SQL file."""

    number: int
    name: str
    sql: bytes

    @property
    def digest(self) -> bytes:
        return hashlib.sha256(self.sql).digest()


def migrations() -> list[Migration]:
    """Return the migrations that this flowsync knows, by number."""
    found = [
        Migration(number=int(file.name[:4]), name=file.name[5:-4], sql=file.read_bytes())
        for file in files("flowsync.catalog").joinpath("migrations").iterdir()
        if file.name.endswith(".sql")
    ]
    return sorted(found, key=lambda migration: migration.number)


def pending_migrations(known: list[Migration], applied: dict[int, bytes]) -> list[Migration]:
    """Return those of the known migrations that are not among the applied ones, given as digests by
    number.

    Raise as `migrate` does.
    """
    newest = known[-1].number
    if applied and max(applied) > newest:
        raise SchemaTooNewError(
            f"the database has schema {max(applied)}, this flowsync knows schemas up to {newest}"
        )
    for migration in known:
        if applied.get(migration.number, migration.digest) != migration.digest:
            raise CatalogError(
                "the database was migrated by another text of "
                f"{migration.number:04}_{migration.name}.sql"
            )
    return [migration for migration in known if migration.number not in applied]


async def migrate(connection: AsyncConnection[Any], known: list[Migration] | None = None) -> int:
    """Bring the database to the schema of `known` (default: `migrations()`) and return how many
    migrations were applied.

    `connection` is in autocommit mode. Raise `SchemaTooNewError` when the database is newer,
    `CatalogError` when its history differs from ours.
    """
    known = migrations() if known is None else known
    if not pending_migrations(known, await _applied(connection)):
        return 0
    # Locked before the transaction begins: a session that waited inside one may not see yet which
    # tables exist.
    await connection.execute(f"SELECT pg_advisory_lock({_KEY})", (_LOCK,))
    try:
        async with connection.transaction():
            pending = pending_migrations(known, await _applied(connection))
            for migration in pending:
                await _apply(connection, migration)
    finally:
        if not connection.closed:
            await connection.execute(f"SELECT pg_advisory_unlock({_KEY})", (_LOCK,))
    return len(pending)


async def _apply(connection: AsyncConnection[Any], migration: Migration) -> None:
    await connection.execute(
        "CREATE TABLE IF NOT EXISTS schema_version ("
        "number integer PRIMARY KEY, name text NOT NULL, digest bytea NOT NULL, "
        "applied_at timestamptz NOT NULL DEFAULT now())"
    )
    await connection.execute(migration.sql)
    await connection.execute(
        "INSERT INTO schema_version (number, name, digest) VALUES (%s, %s, %s)",
        (migration.number, migration.name, migration.digest),
    )


async def _applied(connection: AsyncConnection[Any]) -> dict[int, bytes]:
    cursor = await connection.execute("SELECT to_regclass('schema_version') IS NOT NULL")
    row = await cursor.fetchone()
    if row is None or not row[0]:
        return {}
    cursor = await connection.execute("SELECT number, digest FROM schema_version")
    return dict(await cursor.fetchall())


# What tells one catalog from another: an id of its own, after which its locks are named, and the id
# of the store with its bytes.
#
# Two catalogs may live in two schemas of one database, where advisory locks are common to all. So
# the first number of each lock comes from the id of the catalog.


class LockClasses(msgspec.Struct, frozen=True, kw_only=True):
    """First numbers of a catalog's advisory locks.

    For `repositories` the second number is the repository's id, or 0 for the lock that all holders
    share; for `runs` it is the run's number.
    """

    repositories: int
    runs: int


def lock_classes(catalog: UUID) -> LockClasses:
    """Return the lock classes of a catalog. They are positive, because the server shows them as
    unsigned numbers.
    """
    digest = hashlib.sha256(catalog.bytes).digest()
    first, second = (int.from_bytes(digest[at : at + 4]) & 0x7FFFFFFF for at in (0, 4))
    return LockClasses(repositories=first, runs=second)


class StoreBinding(msgspec.Struct, frozen=True, kw_only=True):
    """The id of a catalog, and that of its store once one was opened with it."""

    catalog: UUID
    store: UUID | None

    @property
    def expected(self) -> UUID:
        """The id that the store of the catalog has, or gets."""
        return self.store or self.catalog
