"""Repositories on an empty database, and a shelf of content for them."""

import pytest

from flowsync.catalog.postgres.database import Database
from flowsync.catalog.versions.repositories import Repositories
from tests.integration.catalog.units import Shelf


@pytest.fixture
def repositories(database: Database) -> Repositories:
    return Repositories(database)


@pytest.fixture
def shelf(database: Database) -> Shelf:
    return Shelf(database)
