"""The named statements against the schema."""

import re

import psycopg
from psycopg.pq import ExecStatus

from flowsync.catalog.postgres.database import statement, statement_names

_CREATE = b"CREATE TEMPORARY TABLE"


def test_every_statement_can_be_prepared(conninfo: str) -> None:
    refused = {}
    with psycopg.connect(conninfo, autocommit=True) as connection:
        statements = {name: _numbered(statement(name)) for name in statement_names()}
        for sql in statements.values():
            if sql.startswith(_CREATE):
                connection.execute(sql.removesuffix(b" ON COMMIT DROP"))
        for name, sql in statements.items():
            result = connection.pgconn.prepare(b"", sql)
            if result.status != ExecStatus.COMMAND_OK:
                refused[name] = result.error_message.decode()

    assert refused == {}


def _numbered(sql: bytes) -> bytes:
    """Return the SQL as the server sees it: parameters by number instead of by name."""
    numbers: dict[bytes, int] = {}

    def number(match: re.Match[bytes]) -> bytes:
        return b"$%d" % numbers.setdefault(match[1], len(numbers) + 1)

    return re.sub(rb"%\((\w+)\)[sbt]", number, sql).replace(b"%%", b"%")
