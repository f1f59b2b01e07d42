"""As the pipeline's tests, those of what runs things run on both event loops."""

from tests.unit.pipeline.conftest import no_collector, pytest_asyncio_loop_factories, start

__all__ = ["no_collector", "pytest_asyncio_loop_factories", "start"]
