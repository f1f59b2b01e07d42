import time

import pytest

from flowsync.embedded_postgres.ownership import in_namespace
from flowsync.errors import EmbeddedPostgresError


@pytest.fixture
def namespaces() -> None:
    """Skip where the kernel refuses user namespaces."""
    try:
        in_namespace().run("trying", ["/bin/true"], time.monotonic() + 20.0)
    except EmbeddedPostgresError as error:
        pytest.skip(f"no user namespaces here: {error.found}")
