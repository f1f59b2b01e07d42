"""Fixtures for tests that need an upstream."""

from collections.abc import Iterator

import pytest

from tests.upstream.certificates import Certificates
from tests.upstream.server import Upstream


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """Give a fresh upstream over plain HTTP."""
    with Upstream() as running:
        yield running


@pytest.fixture(scope="session")
def certificates() -> Certificates:
    """Give the CA of this test run."""
    return Certificates()
