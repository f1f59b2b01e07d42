"""Tells observers how far a sync is, a few times a second, from the plain counters of its
stages.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from flowsync.model.events import Event, Observer, SyncProgressed
from flowsync.pipeline.progress import Progress

_log = logging.getLogger(__name__)

INTERVAL = 0.25
"""Seconds between two looks at the counters. A redraw costs milliseconds, so the number of units
must not decide how often.
"""


def tell(observers: Sequence[Observer], event: Event) -> None:
    """Give `event` to every observer. One that fails is logged: watching a sync must not
    break it.
    """
    for observer in observers:
        try:
            observer(event)
        except Exception:  # noqa: BLE001 - it is the observer's code
            _log.exception("observer %r failed on %s", observer, type(event).__name__)


@asynccontextmanager
async def observed(
    repository: str, progress: Progress, observers: Sequence[Observer]
) -> AsyncIterator[None]:
    """Report `progress` while the block runs, and once more at its end; without observers, do
    nothing.
    """
    if not observers:
        yield
        return
    reporter = asyncio.create_task(_report(repository, progress, observers))
    try:
        yield
    finally:
        reporter.cancel()
        await asyncio.wait([reporter])
        _report_once(repository, progress, observers)


async def _report(repository: str, progress: Progress, observers: Sequence[Observer]) -> None:
    while True:
        _report_once(repository, progress, observers)
        await asyncio.sleep(INTERVAL)


def _report_once(repository: str, progress: Progress, observers: Sequence[Observer]) -> None:
    tell(observers, SyncProgressed(repository=repository, readings=progress.read()))
