"""What all tests share: the event loop of the product, a PostgreSQL, and their order."""

import signal
from typing import Any

import pytest

from tests.postgres import IN_MEMORY, PREFIX, take_memory
from tests.postgres import conninfo as conninfo
from tests.postgres import database as database
from tests.postgres import empty_conninfo as empty_conninfo
from tests.postgres import migrated_template as migrated_template
from tests.postgres import postgres as postgres

pytest_plugins = ["tests.event_loop", "tests.upstream.plugin"]

# Failing assertions of the contract suites show their values.
pytest.register_assert_rewrite("flowsync.testing")

# Under nohup it is ignored, and programs that tests start would ignore it too.
signal.signal(signal.SIGHUP, signal.SIG_DFL)

LONG = [
    "tests/integration/embedded_postgres/test_vanished_machine.py",
    "tests/system/test_memory.py",
    "tests/system/test_demo.py",
    "tests/system/test_mirror_debian.py",
    "tests/integration/sync/test_closing.py",
    "tests/system/test_serve.py",
    "tests/system/test_full_disk.py",
    "tests/system/test_owner.py",
    "tests/integration/sync/test_turns.py",
]
"""Modules that take long, the longest first. A module is one worker's: what begins last must be
short, or the others wait for it.
"""


def pytest_configure(config: pytest.Config) -> None:
    take_memory(config)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    node.workerinput[PREFIX] = node.config.stash[IN_MEMORY]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put long modules first, then those that start programs or use servers."""
    items.sort(key=lambda item: _rank(item.nodeid.partition("::")[0]))


def _rank(module: str) -> int:
    if module in LONG:
        return LONG.index(module)
    floors = ["tests/system/", "tests/integration/"]
    return len(LONG) + next((i for i, floor in enumerate(floors) if module.startswith(floor)), 2)
