"""The command line with a home and a database of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from psycopg.conninfo import make_conninfo

from tests.postgres import temporary_database
from tests.system.command import CommandLine
from tests.upstream.server import Upstream


@pytest.fixture
def flowsync(tmp_path: Path, conninfo: str) -> CommandLine:
    """Give the command line with a fresh home and database."""
    return CommandLine(tmp_path, database_url=conninfo)


@pytest.fixture(scope="module")
def shared_conninfo(postgres: str, migrated_template: str) -> Iterator[str]:
    """Give a database for all tests of a module."""
    with temporary_database(postgres, migrated_template) as name:
        yield make_conninfo(postgres, dbname=name)


@pytest.fixture(scope="module")
def shared_upstream() -> Iterator[Upstream]:
    """Give an upstream for all tests of a module."""
    with Upstream() as running:
        yield running
