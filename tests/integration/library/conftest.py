"""An open engine, and upstreams made of a few files."""

from tests.integration.sync.conftest import engine as engine
from tests.integration.sync.conftest import file_sync as file_sync
from tests.integration.sync.conftest import publish as publish
