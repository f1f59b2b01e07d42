"""What it takes to bring bytes: the ports of an engine, and the folder that the bytes go to."""

from typing import Protocol

import msgspec

from flowsync.acquire.single_flight import SingleFlight
from flowsync.acquire.sources import Cooling
from flowsync.model.digest import DigestPolicy
from flowsync.model.remote import Fetcher


class Digester(Protocol):
    """Computes digests of files: a `Hasher`, or an `InlineHasher` where there is no crew."""

    @property
    def inline_limit(self) -> int:
        """Bytes up to which a body is better hashed by the task that holds it."""

    async def digest(
        self, path: str, algorithms: frozenset[str], *, size: int | None = None
    ) -> tuple[int, dict[str, str]]:
        """Return the size in bytes and the digests of a file, as `Hasher.digest` does."""


class AcquireContext(Protocol):
    """What `acquire` needs. A run has it, in its own process (`RunContext`) and in a worker
    (`DownloadContext`); all others ask their engine for one.

    `staging` is a staging folder of the store.
    """

    @property
    def fetcher(self) -> Fetcher: ...
    @property
    def hasher(self) -> Digester: ...
    @property
    def digest_policy(self) -> DigestPolicy: ...
    @property
    def single_flight(self) -> SingleFlight: ...
    @property
    def cooling(self) -> Cooling: ...
    @property
    def staging(self) -> str: ...


class AcquirePorts(msgspec.Struct, frozen=True, kw_only=True):
    """An `AcquireContext` for those who need nothing else of an engine."""

    fetcher: Fetcher
    hasher: Digester
    digest_policy: DigestPolicy
    single_flight: SingleFlight
    cooling: Cooling
    staging: str
