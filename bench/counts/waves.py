"""A sync whose batches are known: every stage has exactly 500 units at a time, so what is said to
the database can be counted for a batch.

The first stage puts a wave of 500 and waits until they are all associated before it puts the next.
What is counted between the two is what a batch costs; what is left of the whole is what a sync
costs besides. Bytes come from local files: a download says nothing to the database.
"""

import asyncio
import hashlib
from pathlib import Path
from typing import ClassVar, Literal

import msgspec

from bench.counts.frontend import Tally
from bench.counts.wire import Wire
from flowsync import (
    Artifact,
    Content,
    DeclarativeArtifact,
    DeclarativeContent,
    DeclarativeVersion,
    Engine,
    Remote,
    Repository,
    Stage,
)
from flowsync.catalog.versions.new_version import NewVersion
from flowsync.stages.content_stages import ContentAssociation

BATCH = 500
WAVES = 2

Bytes = Literal["local", "deferred"]


class File(Content):
    """A file that its key determines."""

    type_name: ClassVar[str] = "bench.file"
    natural_key: ClassVar[tuple[str, ...]] = ("relative_path", "sha256")
    repo_key: ClassVar[tuple[str, ...]] = ("relative_path",)
    relative_path: str
    sha256: str


class Counted(msgspec.Struct, frozen=True):
    """What one sync said: in the whole, for a batch, and in round trips besides its batches.

    When the stream has ended, a sync reads what is new once more for the version's root; that is
    besides.
    """

    whole: Tally
    batch: Tally

    @property
    def besides(self) -> int:
        return self.whole.round_trips - WAVES * self.batch.round_trips


class Turnstile:
    """Lets the first stage go on when a wave has passed, and notes what was said until then."""

    def __init__(self, wire: Wire) -> None:
        self.passed = asyncio.Event()
        self.seen: list[Tally] = []
        self._wire = wire

    def turn(self) -> None:
        self.seen.append(self._wire.tally.copy())
        self.passed.set()


class Association(ContentAssociation):
    """The stage that is the last to do something for a batch, with the turnstile behind its work:
    it does not hand on what was there before.
    """

    turnstile: Turnstile

    async def _associate(self, batch: list[DeclarativeContent]) -> list[DeclarativeContent]:
        added = await super()._associate(batch)
        self.turnstile.turn()
        return added


class Waves(Stage):
    """Puts the units in waves."""

    def __init__(self, remote: Remote, folder: Path, kind: Bytes, turnstile: Turnstile) -> None:
        self._remote = remote
        self._folder = folder
        self._kind: Bytes = kind
        self._turnstile = turnstile

    async def run(self) -> None:
        """Put a wave when the one before has passed."""
        for number in range(WAVES):
            self._turnstile.passed.clear()
            await self.put_all([self._declare(number * BATCH + unit) for unit in range(BATCH)])
            await self._turnstile.passed.wait()

    def _declare(self, number: int) -> DeclarativeContent:
        body = f"{self._kind} {number}".encode()
        path = f"{self._kind}/package-{number % 100}/package_{number}.deb"
        sha256 = hashlib.sha256(body).hexdigest()
        file = None
        if self._kind == "local":
            file = str(self._folder / str(number))
            Path(file).write_bytes(body)
        artifact = DeclarativeArtifact(
            Artifact(size=len(body), sha256=sha256, file=file),
            url=f"{self._remote.url}{path}",
            relative_path=path,
            remote=self._remote,
            deferred_download=self._kind == "deferred",
        )
        return DeclarativeContent(File(path, sha256), [artifact])


class WavesVersion(DeclarativeVersion):
    """A sync with a turnstile."""

    turnstile: Turnstile

    def _all_stages(self, new_version: NewVersion) -> list[Stage]:
        association = Association(new_version, self.mirror)
        association.turnstile = self.turnstile
        return [
            association if isinstance(stage, ContentAssociation) else stage
            for stage in super()._all_stages(new_version)
        ]


async def sync_in_waves(engine: Engine, wire: Wire, folder: Path, kind: Bytes) -> Counted:
    """Sync the units and return what was said. The engine's database is behind the wire."""
    remote = Remote(name="bench", url="https://example.org/debian/")
    turnstile = Turnstile(wire)
    before = wire.tally.copy()
    version = WavesVersion(
        Waves(remote, folder, kind, turnstile),
        Repository(name=kind),
        mirror=True,
        engine=engine,
    )
    version.turnstile = turnstile
    await version.acreate()
    first, second = turnstile.seen
    return Counted(wire.tally.since(before), second.since(first))
