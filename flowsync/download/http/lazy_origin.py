"""The HTTP origin, opened by the first request that needs it.

Decisions: docs/decisions/0011.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Final

from flowsync.download.pacing.host_limits import HostLimits
from flowsync.download.transfer.attempt import Tally
from flowsync.model.remote import FetchRequest, Received, Sink

if TYPE_CHECKING:
    from flowsync.download.http.origin import HttpOrigin


@asynccontextmanager
async def defer_http(product: str, limits: HostLimits) -> AsyncIterator["DeferredHttpOrigin"]:
    """Give an origin for as long as the block runs. `product` is name and version for the
    `User-Agent`.
    """
    async with AsyncExitStack() as opened:
        yield DeferredHttpOrigin(product, limits, opened)


class DeferredHttpOrigin:
    """Brings bodies over http and https. Made by `defer_http`, whose block closes what this
    opens.
    """

    steady: Final = False

    def __init__(self, product: str, limits: HostLimits, opened: AsyncExitStack) -> None:
        self._product = product
        self._limits = limits
        self._opened = opened
        self._opening = asyncio.Lock()
        self._origin: HttpOrigin | None = None

    async def attempt(self, request: FetchRequest, sink: Sink, tally: Tally) -> Received:
        """Make one try; see `HttpOrigin.attempt`."""
        origin = self._origin or await self._open()
        return await origin.attempt(request, sink, tally)

    async def _open(self) -> "HttpOrigin":
        async with self._opening:
            if self._origin is not None:
                return self._origin
            client = await asyncio.to_thread(import_module, "flowsync.download.http.origin")
            opening = client.open_http(self._product, self._limits)
            opened: HttpOrigin = await self._opened.enter_async_context(opening)
            self._origin = opened
            return opened
