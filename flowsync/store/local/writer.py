"""The writing of batches: from verified bytes at hand to durable blobs.

1. Order: look which blobs are there already, write small bodies into scratch files, barrier, rename
   all, barrier, remove what is left over.
2. Blobs that were there already pass the second barrier too: another process may have renamed them
   a moment ago and not be through yet.
3. Only files below the store's own staging are moved or removed. A path elsewhere is somebody's own
   file and is refused.
4. A failed batch removes its scratch files and leaves staged files to the run they belong to, so it
   can be tried again.

What runs in the store's worker process: one batch of artifacts after the other, made durable;
and the site at which both sides write.
"""

import logging
import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from functools import cache
from itertools import count

import msgspec

from flowsync.errors import StoreError
from flowsync.model.artifact import StagedArtifact
from flowsync.store.durability import Barrier, barriers
from flowsync.store.failures import go_on_without, store_errors
from flowsync.store.local.shelves import Shelves

_READ_ONLY = 0o444


class Writer:
    """Persists the batches of one open store; several threads may do so at once.

    `staging` is the folder below which staged files must lie, `scratch` a private folder on the
    same file system, and `open_barrier` opens the barrier for a batch of so many blobs.
    """

    def __init__(
        self,
        shelves: Shelves,
        *,
        staging: str,
        scratch: str,
        open_barrier: Callable[[int], AbstractContextManager[Barrier]],
    ) -> None:
        self._shelves = shelves
        self._staging = staging + os.sep
        self._scratch = scratch
        self._serial = count()
        self._open_barrier = open_barrier

    def persist(self, artifacts: Sequence[StagedArtifact]) -> None:
        """Make the artifacts durable under their names, as `BlobStore.persist` promises."""
        wanted: dict[str, StagedArtifact] = {}
        for artifact in artifacts:
            wanted.setdefault(_name(artifact), artifact)
        if not wanted:
            return
        staged = {path for artifact in artifacts if (path := self._staged(artifact)) is not None}
        with store_errors(f"storing {len(wanted)} blobs in {self._shelves.root}"):
            staged -= self._store(wanted)
            _remove(staged)

    def _store(self, wanted: dict[str, StagedArtifact]) -> set[str]:
        """Store what is not there yet and return the staged files that were moved for it."""
        absent = {
            name: artifact
            for name, artifact in wanted.items()
            if not self._shelves.holds(name, artifact.size)
        }
        bodies = {name: a.body for name, a in absent.items() if a.body is not None}
        written = {name: f"{self._scratch}/{next(self._serial)}" for name in bodies}
        moved = {
            name: a.file for name, a in absent.items() if a.body is None and a.file is not None
        }
        with self._open_barrier(len(wanted)) as durable:
            try:
                for name, path in written.items():
                    _write(path, bodies[name])
                for path in moved.values():
                    _make_read_only(path, path)
                durable.files(written.values(), moved.values())
                self._place({**written, **moved}, wanted, durable)
            except BaseException:
                _remove(written.values())
                raise
        return set(moved.values())

    def _place(self, sources: dict[str, str], wanted: Iterable[str], durable: Barrier) -> None:
        for name, source in sources.items():
            self._shelves.place(source, name)
        folders = {self._shelves.folder(name) for name in wanted}
        durable.folders([*folders, self._shelves.root])

    def _staged(self, artifact: StagedArtifact) -> str | None:
        if artifact.body is not None:
            return None
        if artifact.file is None:
            raise StoreError(f"blob {artifact.blake3} cannot be stored: it has no bytes at hand")
        if not artifact.file.startswith(self._staging):
            raise StoreError(
                f"blob {artifact.blake3} cannot be stored: {artifact.file} is not below "
                f"{self._staging}"
            )
        return artifact.file


def _name(artifact: StagedArtifact) -> str:
    if artifact.blake3 is None:
        raise StoreError(
            f"an artifact of {artifact.size} bytes cannot be stored: its BLAKE3 is not known"
        )
    return artifact.blake3


def _write(path: str, body: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _READ_ONLY)
    try:
        # A disk that is nearly full takes a part; the next call then says that it is full.
        written = os.write(fd, body)
        while written < len(body):
            written += os.write(fd, memoryview(body)[written:])
        # The mode given to open is narrowed by the umask.
        _make_read_only(fd, path)
    finally:
        os.close(fd)


def _make_read_only(file: int | str, path: str) -> None:
    try:
        os.chmod(file, _READ_ONLY)
    except OSError as error:
        go_on_without("cannot make files read-only", path, error)


def _remove(paths: Iterable[str]) -> None:
    for path in paths:
        try:
            os.unlink(path)
        except FileNotFoundError:
            continue


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
