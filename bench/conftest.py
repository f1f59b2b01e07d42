"""What all benches share: the event loop of the product, a PostgreSQL with the settings of
production, and how large they are.
"""

from collections.abc import Callable, Iterator

import pytest

from tests.postgres import conninfo as conninfo
from tests.postgres import database as database
from tests.postgres import migrated_template as migrated_template
from tests.postgres import running_postgres

pytest_plugins = ["tests.event_loop"]

Sized = Callable[[int, int], int]
"""Gives the size of a bench from its full size and the one that it has when it is run once as a
test of itself.
"""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--share", type=float, default=1.0, help="share of the full size of the large benches; 1"
    )


@pytest.fixture(scope="session")
def sized(pytestconfig: pytest.Config) -> Sized:
    # The configuration disables benchmarks; who measures enables them.
    enabled = pytestconfig.getoption("benchmark_enable")
    share = pytestconfig.getoption("share")
    return lambda full, once: max(once, round(full * share)) if enabled else once


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give the conninfo of a server that makes commits durable, as in production."""
    with running_postgres(tmp_path_factory, {}) as conninfo:
        yield conninfo
