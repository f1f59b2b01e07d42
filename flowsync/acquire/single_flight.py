"""Bytes that several want at once, fetched once: one leads, the others follow and get what the
leader got.

1. The same bytes are those with the same declared digest, the strongest that the policy allows. A
   follower that declares more than the leader's bytes can vouch for (another size, or a digest that
   was not computed) fetches for itself.
2. Each follower gets a file of its own, in its own folder, before the leader's artifact moves on;
   so no path is held that another may move or remove. A body in memory is shared as it is.
3. Of a leader that fails or is cancelled the followers learn only that it is their turn: one of
   them leads now, with its own URLs, remote and tries.
4. A leader may have the bytes fetched elsewhere, by a worker process: it takes the lead before it
   asks for them (`take_lead`).
5. Bytes that wait to be recorded are shared from their file. While they are being recorded the
   saver leads: who comes then waits, and gets what is recorded (`take_over`).
6. What is recorded is remembered for every run that was under way then, as it may have asked the
   catalog before; at most `REMEMBERED` artifacts a run, the newest, and no longer than the run
   (`under_way`): afterwards a clean-up may remove them.

Decisions: docs/decisions/0014.
"""

import asyncio
import os
import shutil
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, TypeAlias
from weakref import WeakValueDictionary

from msgspec.structs import replace

from flowsync.download.transfer.spool import fresh_path
from flowsync.model.artifact import Artifact, StagedArtifact, StoredArtifact
from flowsync.runtime.tasks import in_thread

Key = tuple[str, str]
"""Algorithm and value of a digest."""

Fetch = Callable[[], Awaitable[StagedArtifact]]

Shared: TypeAlias = StagedArtifact | StoredArtifact
"""What comes of a fetch: bytes at hand, or bytes that another one has recorded by now."""

REMEMBERED: Final = 5000
"""More than the contents that can be between the question whether their artifacts exist and their
download: a batch of 2000, and the channels.
"""


def key(artifact: Artifact, allowed: frozenset[str]) -> Key | None:
    """Return the digest that stands for the artifact's bytes, or `None` when none is declared that
    may vouch for them.
    """
    for algorithm, value in artifact.digests().items():
        if algorithm in allowed:
            return algorithm, value
    return None


class SingleFlight:
    """What is being fetched, over all runs of an engine. Used from one loop."""

    def __init__(self) -> None:
        self._flights: dict[Key, Flight] = {}
        self._landed: WeakValueDictionary[Key, Shared] = WeakValueDictionary()
        self._under_way: list[deque[StoredArtifact]] = []

    async def bring(
        self,
        wanted: Key,
        artifact: Artifact,
        folder: str,
        fetch: Fetch,
        *,
        patience: float | None = None,
        staged_only: bool = False,
    ) -> Shared:
        """Return the bytes of `artifact`, staged in `folder`: shared with the task that fetches
        them already, else by `fetch`.

        Others are followed for `patience` seconds at most, then `fetch` brings the bytes beside
        them. `staged_only` is for those who know that the stored bytes are not to be had.

        Raise what `fetch` raises. Cancelling a leader hands the lead on.
        """
        kinds = StagedArtifact if staged_only else (StagedArtifact, StoredArtifact)
        until = None if patience is None else asyncio.get_running_loop().time() + patience
        while True:
            flight, landed = self._in_the_air(wanted), self._landed.get(wanted)
            if flight is not None:
                try:
                    async with asyncio.timeout_at(until):
                        shared = await flight.follow(folder)
                except TimeoutError:
                    return await fetch()
                if isinstance(shared, kinds) and _vouches(shared, artifact):
                    return shared
                if flight.landed:
                    # The leader has bytes that this one cannot use, or cannot have.
                    return await fetch()
                continue
            if isinstance(landed, kinds) and _vouches(landed, artifact):
                (shared,) = await _share_out(landed, [folder])
                if shared is not None:
                    return shared
                if self._in_the_air(wanted) or self._landed.get(wanted) is not landed:
                    # The saver took the bytes over in the meantime: it leads now, or has landed.
                    continue
            return await self._lead(wanted, fetch)

    def take_lead(self, wanted: Key) -> "Flight | None":
        """Take the lead for bytes that no task fetches, or has, yet; `None` when one does: `bring`
        then shares with it.

        For leaders that have them fetched elsewhere. Such a leader must not wait for anything that
        its followers may hold, such as leases of the budget.
        """
        if wanted in self._flights or wanted in self._landed:
            return None
        return self._begin(wanted)

    def take_over(self, staged: Sequence[StagedArtifact]) -> "TakenOver":
        """Take the lead for bytes that landed and are to be recorded now."""
        flights: list[list[Flight]] = []
        for artifact in staged:
            keys = [
                wanted
                for wanted in artifact.digests().items()
                if self._landed.get(wanted) is artifact and wanted not in self._flights
            ]
            flights.append([self._begin(wanted) for wanted in keys])
        return TakenOver(flights, self._remember)

    @contextmanager
    def under_way(self) -> Iterator[None]:
        """Remember, while the block runs, what any run records."""
        recorded: deque[StoredArtifact] = deque(maxlen=REMEMBERED)
        self._under_way.append(recorded)
        try:
            yield
        finally:
            # By identity: two of them may be equal.
            self._under_way = [other for other in self._under_way if other is not recorded]
            recorded.clear()

    def _in_the_air(self, wanted: Key) -> "Flight | None":
        # One that landed may wait for the landing of others; who came after its last share would go
        # without.
        flight = self._flights.get(wanted)
        return None if flight is None or flight.landed else flight

    async def _lead(self, wanted: Key, fetch: Fetch) -> StagedArtifact:
        flight = self._begin(wanted)
        try:
            staged = await fetch()
            await flight.land(staged)
            return staged
        finally:
            flight.end()

    def _begin(self, wanted: Key) -> "Flight":
        flight = self._flights[wanted] = Flight(wanted, self._flights, self._landed)
        return flight

    def _remember(self, stored: Sequence[StoredArtifact]) -> None:
        for recorded in self._under_way:
            recorded.extend(stored)


class Flight:
    """One fetch, and its followers, each with the folder for its share.

    The leader is to `land` the bytes, if it gets them, before they move on, and to `end` in any
    case.
    """

    def __init__(
        self,
        wanted: Key,
        flights: "dict[Key, Flight]",
        landed: "WeakValueDictionary[Key, Shared]",
    ) -> None:
        self.landed = False
        self._wanted = wanted
        self._all_flights = flights
        self._all_landed = landed
        self._followers: list[tuple[str, asyncio.Future[Shared | None]]] = []

    async def follow(self, folder: str) -> Shared | None:
        """Wait for the leader and return a share in `folder`, or `None` when there is none to be
        had.
        """
        share: asyncio.Future[Shared | None] = asyncio.get_running_loop().create_future()
        self._followers.append((folder, share))
        return await share

    async def land(self, landed: Shared) -> None:
        """Give each follower its share, also those that come meanwhile, and let those find the
        bytes that come later.
        """
        self.landed = True
        self._all_landed[self._wanted] = landed
        while self._followers:
            followers = [follower for follower in self._followers if not follower[1].done()]
            shares = await _share_out(landed, [folder for folder, _ in followers])
            for (_, share), mine in zip(followers, shares, strict=True):
                if not share.done():
                    share.set_result(mine)
            self._followers = [follower for follower in self._followers if not follower[1].done()]

    def end(self) -> None:
        """Leave the air, and let those that have got nothing see to themselves. Ending twice is
        ending once.
        """
        if self._all_flights.get(self._wanted) is self:
            del self._all_flights[self._wanted]
        for _, share in self._followers:
            if not share.done():
                share.set_result(None)


class TakenOver:
    """Artifacts that are on their way into the store and the catalog; the saver leads
    meanwhile.
    """

    def __init__(
        self,
        flights: Sequence[Sequence[Flight]],
        remember: Callable[[Sequence[StoredArtifact]], None],
    ) -> None:
        self._flights = flights
        self._remember = remember

    async def land(self, stored: Sequence[StoredArtifact]) -> None:
        """Share what is recorded now; in the order of what was taken over."""
        for flights, artifact in zip(self._flights, stored, strict=True):
            for flight in flights:
                await flight.land(artifact)
        self._remember(stored)

    def end(self) -> None:
        """End in any case."""
        for flights in self._flights:
            for flight in flights:
                flight.end()


def _vouches(landed: Shared, artifact: Artifact) -> bool:
    if artifact.size is not None and artifact.size != landed.size:
        return False
    return all(getattr(landed, name) == value for name, value in artifact.digests().items())


async def _share_out(landed: Shared, folders: Sequence[str]) -> Sequence[Shared | None]:
    if isinstance(landed, StoredArtifact) or landed.file is None:
        return [landed] * len(folders)
    return await in_thread(_shares, landed, folders)


def _shares(staged: StagedArtifact, folders: Sequence[str]) -> list[StagedArtifact | None]:
    return [_share(staged, str(staged.file), folder) for folder in folders]


def _share(staged: StagedArtifact, file: str, folder: str) -> StagedArtifact | None:
    path = fresh_path(folder)
    try:
        _link(file, path)
    except OSError:
        # The leader's file has moved on, or the follower's folder is gone with its run, or the disk
        # is full: it will see for itself.
        return None
    return replace(staged, file=path)


def _link(source: str, path: str) -> None:
    try:
        os.link(source, path)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copyfile(source, path)
