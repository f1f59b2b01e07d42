"""Who wants the same bytes at once gets them from one fetch."""

import asyncio
import gc
import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from flowsync.acquire.single_flight import SingleFlight, key
from flowsync.errors import UnreachableError
from flowsync.model.artifact import Artifact, StagedArtifact, StoredArtifact

BODY = b"body"
SHA256 = hashlib.sha256(BODY).hexdigest()
WANTED = Artifact(sha256=SHA256, size=4)
KEY = ("sha256", SHA256)


class World:
    """Fetches the bytes when it is told to, into files below a folder, and counts."""

    def __init__(self, folder: Path) -> None:
        self.fetches: list[asyncio.Future[None]] = []
        self.folders = [folder / name for name in ("first", "second", "third")]
        for made in self.folders:
            made.mkdir()
        self.flight = SingleFlight()
        self._begun = asyncio.Condition()

    async def want(
        self,
        run: int,
        artifact: Artifact = WANTED,
        *,
        patience: float | None = None,
        staged_only: bool = False,
    ) -> StagedArtifact:
        folder = self.folders[run]
        shared = await self.flight.bring(
            KEY,
            artifact,
            str(folder),
            self._fetch(folder),
            patience=patience,
            staged_only=staged_only,
        )
        assert isinstance(shared, StagedArtifact)
        return shared

    async def fetching(self, count: int) -> None:
        async with self._begun:
            await self._begun.wait_for(lambda: len(self.fetches) >= count)

    def _fetch(self, folder: Path) -> Callable[[], Awaitable[StagedArtifact]]:
        async def fetch() -> StagedArtifact:
            done = asyncio.get_running_loop().create_future()
            async with self._begun:
                self.fetches.append(done)
                self._begun.notify_all()
            file = folder / f"fetched-{len(self.fetches)}"
            await done
            file.write_bytes(BODY)
            return StagedArtifact(size=4, sha256=SHA256, blake3="0" * 64, file=str(file))

        return fetch


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def content(staged: StagedArtifact) -> bytes:
    return Path(str(staged.file)).read_bytes()


async def test_followers_get_files_of_their_own_from_one_fetch(world: World) -> None:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(world.want(run)) for run in (0, 1, 0)]
        await settle()
        world.fetches[0].set_result(None)

    found = [task.result() for task in tasks]
    assert len(world.fetches) == 1
    assert len({staged.file for staged in found}) == 3
    assert [Path(str(staged.file)).parent.name for staged in found] == ["first", "second", "first"]
    assert [content(staged) for staged in found] == [BODY, BODY, BODY]


async def test_what_has_landed_is_shared_until_nobody_holds_it(world: World) -> None:
    first = asyncio.create_task(world.want(0))
    await settle()
    world.fetches[0].set_result(None)
    landed = await first

    shared = await world.want(1)
    assert (content(shared), len(world.fetches)) == (BODY, 1)

    del landed, first
    gc.collect()
    later = asyncio.create_task(world.want(2))
    await settle()
    assert len(world.fetches) == 2
    world.fetches[1].set_result(None)
    await later


async def test_file_that_moved_on_is_fetched_again(world: World) -> None:
    first = asyncio.create_task(world.want(0))
    await settle()
    world.fetches[0].set_result(None)
    Path(str((await first).file)).unlink()

    again = asyncio.create_task(world.want(1))
    await world.fetching(2)
    world.fetches[1].set_result(None)

    assert content(await again) == BODY


async def test_failed_leader_hands_the_lead_on_and_keeps_his_error(world: World) -> None:
    leader, follower, third = (asyncio.create_task(world.want(run)) for run in range(3))
    await settle()
    world.fetches[0].set_exception(UnreachableError("http://host/", "refused"))
    await settle()
    world.fetches[1].set_result(None)

    assert content(await follower) == content(await third) == BODY
    assert len(world.fetches) == 2
    with pytest.raises(UnreachableError):
        await leader


async def test_cancelled_leader_hands_the_lead_on(world: World) -> None:
    leader, follower = (asyncio.create_task(world.want(run)) for run in range(2))
    await settle()
    leader.cancel()
    await settle()
    world.fetches[1].set_result(None)

    assert content(await follower) == BODY
    assert leader.cancelled()


async def test_cancelled_follower_harms_nobody(world: World) -> None:
    leader, follower, third = (asyncio.create_task(world.want(run)) for run in range(3))
    await settle()
    follower.cancel()
    await settle()
    world.fetches[0].set_result(None)

    assert content(await leader) == content(await third) == BODY
    assert list(world.folders[1].iterdir()) == []


async def test_follower_whose_folder_is_gone_fetches_for_himself(world: World) -> None:
    leader, follower = (asyncio.create_task(world.want(run)) for run in range(2))
    await settle()
    world.folders[1].rmdir()
    world.fetches[0].set_result(None)
    await leader
    await world.fetching(2)
    world.folders[1].mkdir()
    world.fetches[1].set_result(None)

    assert content(await follower) == BODY


@pytest.mark.parametrize(
    "more", [Artifact(sha256=SHA256, size=5), Artifact(sha256=SHA256, md5="0" * 32)]
)
async def test_who_declares_more_than_the_leader_can_vouch_for_fetches_for_himself(
    world: World, more: Artifact
) -> None:
    leader, other = asyncio.create_task(world.want(0)), asyncio.create_task(world.want(1, more))
    await settle()
    world.fetches[0].set_result(None)
    await leader
    await world.fetching(2)
    world.fetches[1].set_result(None)

    assert content(await other) == BODY


async def test_body_in_memory_is_shared_as_it_is() -> None:
    flight = SingleFlight()
    ready = asyncio.Event()

    async def fetch() -> StagedArtifact:
        await ready.wait()
        return StagedArtifact(size=4, sha256=SHA256, blake3="0" * 64, body=BODY)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(flight.bring(KEY, WANTED, "/none", fetch)) for _ in range(3)]
        await settle()
        ready.set()

    shares = [task.result() for task in tasks]
    assert [isinstance(share, StagedArtifact) and share.body is BODY for share in shares] == [
        True
    ] * 3


def test_key_is_the_strongest_digest_that_is_allowed() -> None:
    artifact = Artifact(md5="1" * 32, sha512="2" * 128)

    assert key(artifact, frozenset({"sha256", "sha512"})) == ("sha512", "2" * 128)
    assert key(artifact, frozenset({"sha256"})) is None
    assert key(Artifact(size=4), frozenset({"sha256"})) is None


async def test_whose_patience_ends_fetches_beside_the_leader(world: World) -> None:
    leader = asyncio.create_task(world.want(0))
    await settle()
    follower = asyncio.create_task(world.want(1, patience=0.0))
    await world.fetching(2)
    world.fetches[1].set_result(None)

    assert content(await follower) == BODY
    assert not leader.done()
    world.fetches[0].set_result(None)
    await leader


async def test_patience_is_over_when_the_own_fetch_begins(world: World) -> None:
    alone = asyncio.create_task(world.want(0, patience=0.0))
    await settle()
    world.fetches[0].set_result(None)

    assert content(await alone) == BODY


async def test_who_wants_what_is_staged_takes_nothing_that_is_recorded(world: World) -> None:
    stored = StoredArtifact(id=1, size=4, sha256=SHA256, blake3="0" * 64)
    with world.flight.under_way():
        saver = world.flight.take_lead(KEY)
        assert saver is not None
        following = asyncio.create_task(world.want(0, staged_only=True))
        await settle()
        await saver.land(stored)
        saver.end()
        await world.fetching(1)
        world.fetches[0].set_result(None)
        first = content(await following)

        later = asyncio.create_task(world.want(1, staged_only=True))
        await world.fetching(2)
        world.fetches[1].set_result(None)

    assert (first, content(await later)) == (BODY, BODY)
