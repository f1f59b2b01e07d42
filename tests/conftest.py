"""What all tests share: the event loop of the product, and a PostgreSQL."""

import signal

import pytest

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
