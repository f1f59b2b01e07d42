"""Bytes that several want at once, fetched once: one leads, the others follow and get what the leader got.

1. The same bytes are those with the same declared digest, the strongest that the policy allows. Who declares more than the leader's bytes can vouch
   for (another size, or a digest that was not computed) fetches for himself.
2. Each follower gets a file of his own, in his own run's folder, before the leader's artifact moves on; so nobody ever holds a path that somebody
   else may move or remove. A body in memory is shared as it is.
3. Of a leader that fails or is cancelled the followers learn only that it is their turn: one of them leads now, with his own URLs, remote and tries.
4. Bytes are shared until they are recorded: whoever comes while the leader's artifact waits to be saved gets it too. They are held weakly, so the
   memory is that of what is in flight anyway.

Decided: files are shared by hard link, in a thread, and by copy where the file system knows no links. What was staged is never written again, so the
names of one file do not disturb each other.

Decided: a file that the saver is just moving into the store cannot be shared and is fetched again, because only the catalog could answer then, and
asking it for each artifact would cost more than that rare second fetch.
"""

import asyncio
import os
import shutil
from collections.abc import Awaitable, Callable, Sequence
from weakref import WeakValueDictionary

from msgspec.structs import replace

from flowsync.download.spool import fresh_path
from flowsync.model.artifact import Artifact, StagedArtifact
from flowsync.pipeline.threads import in_thread

Key = tuple[str, str]
"""Algorithm and value of a digest."""

Fetch = Callable[[], Awaitable[StagedArtifact]]


def key(artifact: Artifact, allowed: frozenset[str]) -> Key | None:
    """Return the digest that stands for the artifact's bytes, or `None` when none is declared that may vouch for them."""
    for algorithm, value in artifact.digests().items():
        if algorithm in allowed:
            return algorithm, value
    return None


class SingleFlight:
    """What is being fetched, over all runs of an engine. Used from one loop."""

    def __init__(self) -> None:
        self._flights: dict[Key, _Flight] = {}
        self._landed: WeakValueDictionary[Key, StagedArtifact] = WeakValueDictionary()

    async def bring(
        self, wanted: Key, artifact: Artifact, folder: str, fetch: Fetch
    ) -> StagedArtifact:
        """Return the bytes of `artifact`, staged in `folder`: shared with whoever fetches them already, else by `fetch`.

        Raise what `fetch` raises. Cancelling a leader hands the lead on.
        """
        while (flight := self._flights.get(wanted)) is not None:
            shared = await flight.follow(folder)
            if shared is not None and _vouches(shared, artifact):
                return shared
            if flight.landed:
                # The leader has bytes that this one cannot use, or cannot have.
                return await fetch()
        return await self._share_landed(wanted, artifact, folder) or await self._lead(wanted, fetch)

    async def _share_landed(
        self, wanted: Key, artifact: Artifact, folder: str
    ) -> StagedArtifact | None:
        staged = self._landed.get(wanted)
        if staged is None or not _vouches(staged, artifact):
            return None
        if staged.file is None:
            return staged
        (shared,) = await in_thread(_shares, staged, [folder])
        return shared

    async def _lead(self, wanted: Key, fetch: Fetch) -> StagedArtifact:
        if wanted in self._flights:
            # Somebody took the lead while this one looked for what had landed.
            return await fetch()
        flight = self._flights[wanted] = _Flight()
        try:
            staged = await fetch()
            self._landed[wanted] = staged
            await flight.land(staged)
            return staged
        finally:
            del self._flights[wanted]
            flight.end()


class _Flight:
    """One fetch, and who follows it, each with the folder for his share."""

    def __init__(self) -> None:
        self.landed = False
        self._followers: list[tuple[str, asyncio.Future[StagedArtifact | None]]] = []

    async def follow(self, folder: str) -> StagedArtifact | None:
        """Wait for the leader and return a share in `folder`, or `None` when there is none to be had."""
        share: asyncio.Future[StagedArtifact | None] = asyncio.get_running_loop().create_future()
        self._followers.append((folder, share))
        return await share

    async def land(self, staged: StagedArtifact) -> None:
        """Give each follower his share, also those that come meanwhile."""
        self.landed = True
        while self._followers:
            followers = [follower for follower in self._followers if not follower[1].done()]
            folders = [folder for folder, _ in followers]
            shares = await in_thread(_shares, staged, folders)
            for (_, share), mine in zip(followers, shares, strict=True):
                if not share.done():
                    share.set_result(mine)
            self._followers = [follower for follower in self._followers if not follower[1].done()]

    def end(self) -> None:
        """Let those who have got nothing see to themselves."""
        for _, share in self._followers:
            if not share.done():
                share.set_result(None)


def _vouches(staged: StagedArtifact, artifact: Artifact) -> bool:
    if artifact.size is not None and artifact.size != staged.size:
        return False
    return all(getattr(staged, name) == value for name, value in artifact.digests().items())


def _shares(staged: StagedArtifact, folders: Sequence[str]) -> list[StagedArtifact | None]:
    return [_share(staged, folder) for folder in folders]


def _share(staged: StagedArtifact, folder: str) -> StagedArtifact | None:
    if staged.file is None:
        return staged
    path = fresh_path(folder)
    try:
        _link(staged.file, path)
    except OSError:
        # The leader's file has moved on, or the follower's folder is gone with its run, or the disk is full: he will see for himself.
        return None
    return replace(staged, file=path)


def _link(source: str, path: str) -> None:
    try:
        os.link(source, path)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copyfile(source, path)
