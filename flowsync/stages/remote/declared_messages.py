"""What declarations look like on their way to a worker process and back.

1. Structs are arrays, without names of fields, so that messages are small and quick to read.
2. `fields` and `extra_data` are MessagePack inside, so that a change deep in them shows. Digests
   are bytes here, and files below the run's staging folder are named from there.
3. Back come only differences: `None` stands for "as you sent it".
4. Between processes that share files no body crosses: a staged artifact names its file. Where they
   do not, a worker's reply has the bodies of what it staged.

Decided: even tiny bodies become files in a worker that shares them, because the worker then does
the writing, and the pipeline's process, which is the busy one, is spared it; and because answers
stay small.
"""

import os
from typing import Literal

import msgspec

from flowsync.model.artifact import Artifact, StagedArtifact, StoredArtifact
from flowsync.runtime.failures import Failure

State = Literal[0, 1, 2]

_STATES: dict[type[Artifact], State] = {Artifact: 0, StagedArtifact: 1, StoredArtifact: 2}


class WireArtifact(msgspec.Struct, frozen=True, array_like=True):
    """An artifact in one of its three states: declared, staged, stored (then with its id). `body`
    is that of a staged one whose file the other side cannot see.
    """

    state: State
    size: int | None
    digests: dict[str, bytes]
    file: str | None
    id: int | None = None
    body: bytes | None = None


class WireRemote(msgspec.Struct, frozen=True, array_like=True):
    """A remote: its number, by which declarations name it, its class and its fields."""

    number: int
    type: str
    fields: bytes


class WireSource(msgspec.Struct, frozen=True, array_like=True):
    """A `Source`; the remote is a number."""

    remote: int | None
    urls: list[str]


class WireDeclared(msgspec.Struct, frozen=True, array_like=True):
    """A `DeclarativeArtifact` without its artifact."""

    urls: list[str]
    relative_path: str
    remote: int | None
    extra_data: bytes
    deferred: bool
    alternates: list[WireSource]


class WireUnit(msgspec.Struct, frozen=True, array_like=True):
    """A `DeclarativeContent` without its artifacts."""

    type: str
    fields: bytes
    extra_data: bytes
    saved: bool
    known_links: dict[str, int | None]


class WirePlaced(msgspec.Struct, frozen=True, array_like=True):
    """A `DeclarativeArtifact`: where it belongs, its artifact, and what it was declared to be if
    that is another one.
    """

    declared: WireDeclared
    artifact: WireArtifact
    as_declared: WireArtifact | None = None


class WireItem(msgspec.Struct, frozen=True, array_like=True):
    """A `DeclarativeContent`."""

    unit: WireUnit
    artifacts: list[WirePlaced]


class WireBatch(msgspec.Struct, frozen=True, array_like=True):
    """Items and the remotes that they name, each once."""

    remotes: list[WireRemote]
    items: list[WireItem]


class LearnedArtifact(msgspec.Struct, frozen=True, array_like=True):
    """What became of the artifact that was sent at `position`; a position of -1 says that it is
    new.

    Of a new one, `as_declared` is what it was declared to be, where that is not its artifact; of
    the others, what it was declared to be since.
    """

    position: int
    declared: WireDeclared | None
    artifact: WireArtifact | None
    as_declared: WireArtifact | None = None


class LearnedItem(msgspec.Struct, frozen=True, array_like=True):
    """What became of an item. `artifacts` has all that it has now, in order."""

    unit: WireUnit | None
    artifacts: list[LearnedArtifact] | None
    failure: Failure | None


class Learned(msgspec.Struct, frozen=True, array_like=True):
    """What became of a batch; `remotes` has those that were not sent, with negative numbers."""

    remotes: list[WireRemote]
    items: list[LearnedItem]


def pack_artifact(artifact: Artifact, folder: str) -> WireArtifact:
    """Return an artifact as it crosses; `folder` is the run's staging folder. A staged body must
    have become a file before.
    """
    file = artifact.file
    return WireArtifact(
        _STATES[type(artifact)],
        artifact.size,
        {name: bytes.fromhex(value) for name, value in artifact.digests().items()},
        None if file is None else file.removeprefix(folder + os.sep),
        artifact.id if isinstance(artifact, StoredArtifact) else None,
    )


def unpack_artifact(wire: WireArtifact, folder: str) -> Artifact:
    """Return the artifact that `pack_artifact` packed."""
    # Those that are there only: names that are not given cost nothing.
    known: dict[str, str] = {name: value.hex() for name, value in wire.digests.items()}
    file = None if wire.file is None else os.path.join(folder, wire.file)
    if wire.state == 2:
        assert wire.id is not None
        return StoredArtifact(id=wire.id, size=wire.size, file=file, **known)
    if wire.state == 1:
        return StagedArtifact(size=wire.size, file=file, body=wire.body, **known)
    return Artifact(size=wire.size, file=file, **known)
