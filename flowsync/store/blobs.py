"""The port of the blob store: what the stages ask of any place that keeps bytes.

1. A blob is named by the BLAKE3 of its bytes (64 lower-case hexadecimal digits), so it never changes and two writers never disagree.
2. What `persist` returned for survives power loss. A blob that can be seen under its name is whole; there is no state between.
3. Questions and orders come in batches, each one thread job or one round of requests; nothing here is called once an item on a hot path.
4. Staging is always a local folder, wherever the blobs end up: bytes are hashed and verified there before they have a name. Bodies that outlive
   their run lie beside the folders of runs (`flowsync.store.partials`).
"""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import BinaryIO, Protocol

import msgspec

from flowsync.model.artifact import StagedArtifact


class StoreUsage(msgspec.Struct, frozen=True):
    """How much a store holds: the number of blobs and the sum of their sizes in bytes."""

    blobs: int
    bytes: int


class BlobStore(Protocol):
    """An open store of blobs. One instance serves a whole process; any number of tasks may use it at once."""

    async def persist(self, artifacts: Sequence[StagedArtifact]) -> None:
        """Make every artifact of the batch durable under its BLAKE3 name; the staged files are gone afterwards.

        A blob that is there already is verified: kept when it is right, atomically replaced when it is damaged. Duplicates within
        the batch, and other processes that persist the same blob, are fine. After any error the call may be repeated with the
        same batch: what got its name already is then kept. Cancelling waits for the work in progress; a part of the batch may
        then be stored, each blob of it whole.

        Raise `StoreFullError` when a disk, quota or size limit is used up, `StoreUnwritableError` when writing is not permitted,
        `StoreError` otherwise; nothing half-written is then visible under the name of a blob.
        """
        ...

    def path(self, blake3: str) -> str:
        """Return the address of the blob, whether it exists or not."""
        ...

    def open(self, blake3: str) -> BinaryIO:
        """Open the blob for reading; this and the reads block. Raise `BlobMissingError` when there is none."""
        ...

    async def missing(self, names: Sequence[str]) -> set[str]:
        """Return those of the names that have no blob."""
        ...

    async def usage(self) -> StoreUsage:
        """Count all blobs. The cost grows with their number: for reports, not for decisions."""
        ...

    def staging(self) -> AbstractAsyncContextManager[str]:
        """Give one run a private local folder for bytes that have no name yet; it is removed with all that is left in it, except whole partials."""
        ...
