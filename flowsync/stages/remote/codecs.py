"""The two codecs by which declarations cross to worker processes and back: one for the pipeline's
side, one for the worker's.

1. Only what the worker changed comes back, and is written into the declarations that the pipeline
   holds.
2. Remotes keep their identity: they are sent once a batch, with all their settings, and come back
   as numbers.
3. Each worker gets its share of the requests that a remote allows at a time. Where the number is to
   be learned, each learns its own.
4. A lease stays with the pipeline; so does whatever awaits an item.
"""

import os
from collections.abc import Sequence

import msgspec
from blake3 import blake3

from flowsync.declare import DeclarativeArtifact, DeclarativeContent
from flowsync.digest.pool import INLINE_LIMIT
from flowsync.download.transfer.spool import fresh_path
from flowsync.errors import StoreError
from flowsync.model.artifact import Artifact, StagedArtifact
from flowsync.model.remote import Fetcher, Remote
from flowsync.pipeline.remote.protocol import NEW
from flowsync.runtime.failures import pack_error, unpack_error
from flowsync.stages.remote.declarations import (
    apply_declared,
    pack_declared,
    pack_remote,
    pack_unit,
    remotes_of,
    unpack_content,
    unpack_declared,
    unpack_extra,
    unpack_remote,
)
from flowsync.stages.remote.declared_messages import (
    Learned,
    LearnedArtifact,
    LearnedItem,
    WireArtifact,
    WireBatch,
    WireItem,
    WirePlaced,
    WireRemote,
    pack_artifact,
    unpack_artifact,
)

# Bodies that came from workers which share no files with this machine.
#
# The worker compared them with what was declared; here they are compared with what the worker
# found, because of the way that they came. What is not the same is as good as not fetched.


def keep_received(artifacts: Sequence[StagedArtifact], folder: str) -> list[StagedArtifact | None]:
    """Return the artifacts, with large bodies as files in the run's staging folder; `None` for one
    whose bytes are not those that the worker verified. Waits for the disk. Raise `StoreError`.
    """
    return [_kept(artifact, folder) for artifact in artifacts]


def write_private(path: str, body: bytes) -> None:
    """Make a body the new file `path`, which no other user may read. Raise `StoreError`."""
    try:
        with open(path, "xb", buffering=0, opener=_open_private) as file:
            rest = memoryview(body)
            while rest:
                rest = rest[file.write(rest) :]
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror}") from error


def _kept(artifact: StagedArtifact, folder: str) -> StagedArtifact | None:
    body = artifact.body
    if body is None or len(body) != artifact.size or blake3(body).hexdigest() != artifact.blake3:
        return None
    if len(body) <= INLINE_LIMIT:
        return artifact
    path = fresh_path(folder)
    write_private(path, body)
    return msgspec.structs.replace(artifact, body=None, file=path)


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


_encode = msgspec.msgpack.Encoder().encode
_decode_batch = msgspec.msgpack.Decoder(WireBatch).decode
_decode_learned = msgspec.msgpack.Decoder(Learned).decode


class DeclarationCodec:
    """The pipeline's side. One serves one run; `folder` is the run's staging folder, `workers` the
    number that share a remote's concurrency.
    """

    def __init__(self, folder: str, workers: int) -> None:
        self._folder = folder
        self._workers = workers
        self._remotes: dict[int, Remote] = {}
        self._numbers: dict[int, int] = {}

    def encode(self, items: Sequence[DeclarativeContent]) -> bytes:
        """Return the items as bytes. Raise `CannotCrossError`, naming what has no form as bytes."""
        remotes = remotes_of(items)
        for key, remote in remotes.items():
            if key not in self._numbers:
                self._numbers[key] = len(self._remotes)
                self._remotes[self._numbers[key]] = remote
        sent = [
            pack_remote(self._numbers[key], remote, self._share(remote))
            for key, remote in remotes.items()
        ]
        return _encode(WireBatch(sent, [self._pack(item) for item in items]))

    def merge(
        self, answer: bytes, items: Sequence[DeclarativeContent], order: Sequence[int]
    ) -> list[DeclarativeContent]:
        """Write what a worker learned into `items` and return those to put on, in order."""
        learned = _decode_learned(answer)
        for wire in learned.remotes:
            self._remotes[wire.number] = unpack_remote(wire)
        return [
            self._make(found) if position == NEW else self._apply(found, items[position])
            for found, position in zip(learned.items, order, strict=True)
        ]

    def _share(self, remote: Remote) -> int | None:
        allowed = remote.download_concurrency
        return None if allowed is None else max(1, allowed // self._workers)

    def _pack(self, item: DeclarativeContent) -> WireItem:
        return WireItem(
            pack_unit(item),
            [self._pack_artifact(declared) for declared in item.d_artifacts],
        )

    def _pack_artifact(self, declared: DeclarativeArtifact) -> WirePlaced:
        return WirePlaced(
            pack_declared(declared, self._numbers),
            pack_artifact(declared.artifact, self._folder),
            None
            if declared.as_declared is declared.artifact
            else pack_artifact(declared.as_declared, self._folder),
        )

    def _make(self, found: LearnedItem) -> DeclarativeContent:
        assert found.unit is not None
        return self._apply(found, DeclarativeContent(unpack_content(found.unit)))

    def _apply(self, found: LearnedItem, item: DeclarativeContent) -> DeclarativeContent:
        unit = found.unit
        if unit is not None:
            item.content = unpack_content(unit)
            item.extra_data = unpack_extra(unit.extra_data)
            item.saved, item.known_links = unit.saved, unit.known_links
        if found.artifacts is not None:
            known = item.d_artifacts
            item.d_artifacts = [self._declared(artifact, known) for artifact in found.artifacts]
        if found.failure is not None:
            item.failure = unpack_error(found.failure)
        return item

    def _declared(
        self, found: LearnedArtifact, known: Sequence[DeclarativeArtifact]
    ) -> DeclarativeArtifact:
        artifact = None if found.artifact is None else unpack_artifact(found.artifact, self._folder)
        if found.position == NEW:
            assert found.declared is not None
            assert artifact is not None
            declared = unpack_declared(found.declared, artifact, self._remotes)
            return self._declare(declared, found)
        declared = known[found.position]
        if artifact is not None:
            declared.artifact = artifact
        self._declare(declared, found)
        if found.declared is not None:
            apply_declared(found.declared, declared, self._remotes)
        return declared

    def _declare(
        self, declared: DeclarativeArtifact, found: LearnedArtifact
    ) -> DeclarativeArtifact:
        if found.as_declared is not None:
            declared.as_declared = unpack_artifact(found.as_declared, self._folder)
        return declared


class WorkerDeclarationCodec:
    """The worker's side. One serves one batch; its remotes use `fetcher`. With `sends_bodies` what
    it staged in `folder` goes back as bytes, and leaves the folder.
    """

    def __init__(self, folder: str, fetcher: Fetcher, *, sends_bodies: bool = False) -> None:
        self._folder = folder
        self._fetcher = fetcher
        self._sends_bodies = sends_bodies
        self._remotes: dict[int, Remote] = {}
        self._numbers: dict[int, int] = {}
        self._new_remotes: list[WireRemote] = []
        self._sent: list[WireItem] = []
        self._declared: list[list[DeclarativeArtifact]] = []
        self._given: list[list[Artifact]] = []
        self._as_declared: list[list[Artifact]] = []

    def decode(self, body: bytes) -> list[DeclarativeContent]:
        """Return the items of the batch."""
        batch = _decode_batch(body)
        self._remotes = {wire.number: unpack_remote(wire) for wire in batch.remotes}
        for remote in self._remotes.values():
            remote.bind(self._fetcher)
        self._numbers = {id(remote): number for number, remote in self._remotes.items()}
        self._sent = batch.items
        return [self._make(item) for item in batch.items]

    def encode(self, put_on: Sequence[DeclarativeContent], order: Sequence[int]) -> bytes:
        """Return what is new about the items. Bodies and files are written and read here, because
        the loop has nothing else to do any more.
        """
        for key, remote in remotes_of(put_on).items():
            if key not in self._numbers:
                number = self._numbers[key] = NEW - len(self._new_remotes)
                self._remotes[number] = remote
                self._new_remotes.append(pack_remote(number, remote, remote.download_concurrency))
        items = [
            self._learned(item, position) for item, position in zip(put_on, order, strict=True)
        ]
        return _encode(Learned(self._new_remotes, items))

    def _make(self, wire: WireItem) -> DeclarativeContent:
        unit = wire.unit
        declared = [self._make_artifact(placed) for placed in wire.artifacts]
        item = DeclarativeContent(unpack_content(unit), declared, unpack_extra(unit.extra_data))
        item.saved, item.known_links = unit.saved, dict(unit.known_links)
        self._declared.append(declared)
        self._given.append([each.artifact for each in declared])
        self._as_declared.append([each.as_declared for each in declared])
        return item

    def _make_artifact(self, wire: WirePlaced) -> DeclarativeArtifact:
        artifact = unpack_artifact(wire.artifact, self._folder)
        declared = unpack_declared(wire.declared, artifact, self._remotes)
        if wire.as_declared is not None:
            declared.as_declared = unpack_artifact(wire.as_declared, self._folder)
        return declared

    def _learned(self, item: DeclarativeContent, position: int) -> LearnedItem:
        sent = None if position == NEW else self._sent[position]
        known = [] if position == NEW else self._declared[position]
        unit = pack_unit(item)
        places = {id(declared): place for place, declared in enumerate(known)}
        artifacts = [
            self._learned_artifact(declared, places.get(id(declared), NEW), position)
            for declared in item.d_artifacts
        ]
        return LearnedItem(
            None if sent is not None and unit == sent.unit else unit,
            artifacts,
            None if item.failure is None else pack_error(item.failure),
        )

    def _learned_artifact(
        self, declared: DeclarativeArtifact, place: int, position: int
    ) -> LearnedArtifact:
        """Return what became of an artifact of the item that was sent at `position`."""
        where = pack_declared(declared, self._numbers)
        artifact, as_declared = declared.artifact, declared.as_declared
        if place == NEW:
            is_known = as_declared is artifact
            return LearnedArtifact(
                NEW,
                where,
                self._pack_artifact(artifact),
                None if is_known else self._pack_artifact(as_declared),
            )
        is_given = artifact is self._given[position][place]
        is_declared = as_declared is self._as_declared[position][place]
        return LearnedArtifact(
            place,
            None if where == self._sent[position].artifacts[place].declared else where,
            None if is_given else self._pack_artifact(artifact),
            None if is_declared else self._pack_artifact(as_declared),
        )

    def _pack_artifact(self, artifact: Artifact) -> WireArtifact:
        if self._sends_bodies and isinstance(artifact, StagedArtifact):
            packed = pack_artifact(msgspec.structs.replace(artifact, file=None), self._folder)
            return msgspec.structs.replace(packed, body=_taken(artifact))
        if isinstance(artifact, StagedArtifact) and artifact.body is not None:
            path = fresh_path(self._folder)
            write_private(path, artifact.body)
            artifact = msgspec.structs.replace(artifact, body=None, file=path)
        return pack_artifact(artifact, self._folder)


def _taken(artifact: StagedArtifact) -> bytes:
    """Return the bytes of an artifact that was staged here, and leave no file of them."""
    if artifact.file is None:
        return artifact.body or b""
    try:
        with open(artifact.file, "rb", buffering=0) as file:
            body = file.read()
        os.unlink(artifact.file)
    except OSError as error:
        raise StoreError(f"cannot send {artifact.file}: {error.strerror}") from error
    return body
