"""What all tests share: the event loop of the product, and a PostgreSQL."""

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop

from tests.postgres import conninfo as conninfo
from tests.postgres import database as database
from tests.postgres import empty_conninfo as empty_conninfo
from tests.postgres import migrated_template as migrated_template
from tests.postgres import postgres as postgres


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run every asynchronous test on uvloop, as flowsync runs."""
    return {"uvloop": uvloop.new_event_loop}
