"""What all benches share: the event loop of the product, and a PostgreSQL with the settings of production."""

from collections.abc import Iterator

import pytest

from tests.postgres import conninfo as conninfo
from tests.postgres import database as database
from tests.postgres import migrated_template as migrated_template
from tests.postgres import running_postgres

pytest_plugins = ["tests.event_loop"]


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give the conninfo of a server that makes commits durable, as in production."""
    with running_postgres(tmp_path_factory, {}) as conninfo:
        yield conninfo
