"""What all benches share: the event loop of the product, and a PostgreSQL with the settings of production."""

import asyncio
from collections.abc import Callable, Iterator, Mapping

import pytest
import uvloop

from tests.postgres import conninfo as conninfo
from tests.postgres import database as database
from tests.postgres import migrated_template as migrated_template
from tests.postgres import running_postgres


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run every asynchronous bench on uvloop, as flowsync runs."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give the conninfo of a server that makes commits durable, as in production."""
    with running_postgres(tmp_path_factory, {}) as conninfo:
        yield conninfo
