"""The port of the blob store: what the stages ask of any place that keeps bytes.

1. A blob is named by the BLAKE3 of its bytes (64 lower-case hexadecimal digits), so it never
   changes and two writers never disagree.
2. What `persist` returned for survives power loss. A blob that can be seen under its name is whole;
   there is no state between.
3. Questions and orders come in batches, each one thread job or one round of requests; nothing here
   is called once an item on a hot path.
4. What is stored is recorded in the catalog before `storing` ends, and only what is not recorded is
   removed, within `removing`.
5. Staging is always a local folder, wherever the blobs end up: bytes are hashed and verified there
   before they have a name. Bodies that outlive their run lie beside the folders of runs
   (`flowsync.store.staging`).
6. Blobs need not be files. A store whose blobs are files of this machine says so by `local`; all
   else reads them with `reading`, or copies them into files (`flowsync.store.staging`).
"""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final, Protocol
from uuid import UUID

import msgspec

from flowsync.model.artifact import StagedArtifact

LARGEST_CHUNK: Final = 1 << 20
"""Bytes of a chunk that a store gives at most."""


class StoreUsage(msgspec.Struct, frozen=True):
    """How much a store holds: the number of blobs and the sum of their sizes in bytes."""

    blobs: int
    bytes: int


class BlobState(msgspec.Struct, frozen=True):
    """What stands under the name of a blob: its size in bytes, when it was written (seconds since
    the epoch), and what tells it from another file.

    `trouble` says why it could not be looked at, where that is so; then the rest says nothing, and
    the size is -1.
    """

    size: int
    written: float
    identity: tuple[int | str, ...]
    trouble: str = ""


class BlobReader(msgspec.Struct, frozen=True):
    """A blob that is being read: the size of the whole blob in bytes, as it is stored, and the
    bytes that were asked for, in chunks of at most `LARGEST_CHUNK`.

    The bytes are as they are stored: their digest is the reader's to compare. The chunks raise
    `StoreError` when the blob cannot be read to the end.
    """

    size: int
    chunks: AsyncIterator[bytes]


class BlobStore(Protocol):
    """An open store of blobs. One instance serves a whole process; any number of tasks may use it
    at once.
    """

    @property
    def name(self) -> str:
        """What messages call the store: its folder, or its URL without secrets."""
        ...

    @property
    def identity_place(self) -> str:
        """Where the id of the store is kept, for messages to those who must set it by hand."""
        ...

    async def identity(self) -> UUID | None:
        """Return the id of the store, if it has one. Raise `StoreError` when it cannot be read."""
        ...

    async def set_identity(self, identity: UUID) -> None:
        """Give the store an id, durably. Raise `StoreError` when it cannot be written."""
        ...

    async def persist(self, artifacts: Sequence[StagedArtifact]) -> None:
        """Make every artifact of the batch durable under its BLAKE3 name; the staged files are gone
        afterwards.

        A blob that is there already is verified: kept when it is right, atomically replaced when it
        is damaged. Duplicates within the batch, and other processes that persist the same blob, are
        fine. After any error the call may be repeated with the same batch: what got its name
        already is then kept. Cancelling waits for the work in progress; a part of the batch may
        then be stored, each blob of it whole.

        Raise `StoreFullError` when a disk, quota or size limit is used up, `StoreUnwritableError`
        when writing is not permitted, `StoreError` otherwise; nothing half-written is then visible
        under the name of a blob.
        """
        ...

    def local(self, blake3: str) -> str | None:
        """Return the path of the blob, whether it exists or not, where blobs are files of this
        machine that may be read and hard-linked, and never changed; `None`, for every name, where
        they are not.
        """
        ...

    def reading(
        self, blake3: str, start: int = 0, stop: int | None = None
    ) -> AbstractAsyncContextManager[BlobReader]:
        """Read the bytes from `start` to before `stop`, by default all; what lies behind the end of
        the blob is left out. Leaving the block early is fine.

        Raise `BlobMissingError` when there is no blob, `StoreError` when it cannot be opened.
        """
        ...

    async def missing(self, names: Sequence[str]) -> set[str]:
        """Return those of the names that have no blob."""
        ...

    async def usage(self) -> StoreUsage:
        """Count all blobs. The cost grows with their number: for reports, not for decisions."""
        ...

    def staging(self) -> AbstractAsyncContextManager[str]:
        """Give one run a private local folder for bytes that have no name yet; it is removed with
        all that is left in it, except whole partials.
        """
        ...

    # --- upkeep ---

    def storing(self) -> AbstractAsyncContextManager[None]:
        """Keep blobs from being removed while the block stores and records some; held from before
        `persist` until the catalog has them.
        """
        ...

    def removing(self) -> AbstractAsyncContextManager[None]:
        """Let nothing be stored while the block finds out what may go and removes it. Keep it
        short: every sync waits.
        """
        ...

    async def states(self, names: Sequence[str]) -> list[BlobState | None]:
        """Return for each name what stands there, without reading it; `None` when nothing does.
        What is no file has the size -1.

        What cannot be looked at harms no other name: its state says why.
        """
        ...

    def names(self, batch_size: int) -> AsyncGenerator[list[str], None]:
        """Yield the names of all blobs, some at a time. One that comes or goes meanwhile may be
        among them or not.
        """
        ...

    async def remove(self, names: Sequence[str]) -> dict[str, str]:
        """Remove blobs; one that is not there is fine. Return why not, for those that cannot be
        removed. Only within `removing`.
        """
        ...

    async def quarantine(self, names: Sequence[str]) -> dict[str, str]:
        """Take damaged blobs from their names and keep them aside, where they are not served. Only
        within `removing`.

        Return why not, for those that cannot be taken.
        """
        ...

    async def restore(self, names: Sequence[str]) -> set[str]:
        """Put back what is kept aside of these names and has the right bytes, in the place of what
        stands there; return those names.

        Not within `removing`, which it asks for itself.
        """
        ...

    async def release(self, names: Sequence[str]) -> None:
        """Remove what is kept aside of blobs that are whole again."""
        ...

    async def dead_staging(self, *, remove: bool) -> StoreUsage:
        """Count the staging folders that dead processes left and the bytes in them, and perhaps
        remove them.
        """
        ...
