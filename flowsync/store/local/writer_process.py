"""What runs in the store's worker process: one batch of artifacts after the other, made durable;
and the site at which both sides write.
"""

import logging
import tempfile
from collections.abc import Callable, Sequence
from functools import cache

import msgspec

from flowsync.model.artifact import StagedArtifact
from flowsync.store.durability import barriers
from flowsync.store.failures import store_errors
from flowsync.store.local.shelves import Shelves
from flowsync.store.local.writer import Writer


class WriteTarget(msgspec.Struct, frozen=True):
    """Where an open store writes: the root of its shelves, the folder of all staging, and a private
    folder on the same file system.
    """

    root: str
    staging: str
    scratch: str

    def writer(self) -> Writer:
        """Return a writer for this site. Writers of other processes need a site with a private
        folder of their own.
        """
        return Writer(
            Shelves(self.root),
            staging=self.staging,
            scratch=self.scratch,
            open_barrier=barriers(self.scratch),
        )


class _Batch(msgspec.Struct, frozen=True, array_like=True):
    site: WriteTarget
    artifacts: Sequence[StagedArtifact]


_decode = msgspec.msgpack.Decoder(_Batch).decode


def pack(site: WriteTarget, artifacts: Sequence[StagedArtifact]) -> bytes:
    """Return a batch in the form in which it crosses to the worker; `site` is that of the parent
    process.
    """
    return msgspec.msgpack.encode(_Batch(site, artifacts))


def persist_packed(packed: bytes, _: Callable[[], bool]) -> bytes:
    """Make a packed batch durable, as `Writer.persist` does."""
    batch = _decode(packed)
    _writer(batch.site).persist(batch.artifacts)
    return b""


def warm_up() -> None:
    """Leave it to the parent to tell what a file system lacks: it has, when it wrote the first
    files.
    """
    logging.getLogger("flowsync").addHandler(logging.NullHandler())


@cache
def _writer(site: WriteTarget) -> Writer:
    # The parent's private folder has files of its own; what is left in it goes with it.
    with store_errors(f"making a folder in {site.scratch}"):
        own = tempfile.mkdtemp(dir=site.scratch)
    return msgspec.structs.replace(site, scratch=own).writer()
