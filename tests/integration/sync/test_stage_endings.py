"""What becomes of a sync whose stage ends in an odd way: it fails and says so, and no version is
made of what is left.
"""

import asyncio

import pytest

from flowsync import (
    DeclarativeContent,
    DeclarativeVersion,
    EndStage,
    Engine,
    NewVersion,
    Remote,
    Repository,
    Stage,
)
from flowsync.errors import PipelineError, StageAbortedError
from flowsync.sources.file import FileFirstStage
from flowsync.sources.file.content import FileContent
from tests.integration.sync.conftest import Publish


@pytest.mark.parametrize("pause", [0.0, 0.5])
async def test_units_of_a_task_that_its_stage_left_behind_are_not_lost_in_silence(
    engine: Engine, pause: float
) -> None:
    """The sync ended well: a mirror went from six units to one, also long before the others were
    put.
    """

    class Careless(Stage):
        left: asyncio.Task[None]

        def __init__(self, *, careless: bool) -> None:
            self.careless = careless
            self.pause = pause

        async def run(self) -> None:
            await self.put(DeclarativeContent(FileContent(relative_path="0", sha256="0" * 64)))
            self.left = asyncio.create_task(self.rest())
            if not self.careless:
                await self.left

        async def rest(self) -> None:
            await asyncio.sleep(self.pause)
            for number in range(1, 6):
                path, digest = str(number), str(number) * 64
                unit = FileContent(relative_path=path, sha256=digest)
                await self.put(DeclarativeContent(unit))

    good = DeclarativeVersion(
        Careless(careless=False), Repository(name="units"), mirror=True, engine=engine
    )
    version = await good.acreate()
    bad = Careless(careless=True)

    with pytest.raises(PipelineError, match="left behind"):
        await DeclarativeVersion(
            bad, Repository(name="units"), mirror=True, engine=engine, force=True
        ).acreate()

    await asyncio.wait([bad.left])
    assert isinstance(bad.left.exception(), PipelineError)
    assert version is not None
    assert version.present == 6
    assert (await engine.catalog.repositories.version("units")).number == version.number
    assert (await engine.catalog.runs.newest("units"))[0].state == "failed"


async def test_units_that_are_put_while_the_version_is_completed_prevent_it(
    engine: Engine,
) -> None:
    """Who begins the task is a timer, of which its stage's pipeline cannot know."""

    class Careless(Stage):
        left: asyncio.Task[None]

        async def run(self) -> None:
            await self.put(DeclarativeContent(FileContent(relative_path="0", sha256="0" * 64)))
            asyncio.get_running_loop().call_soon(self.begin)

        def begin(self) -> None:
            self.left = asyncio.create_task(self.rest())

        async def rest(self) -> None:
            await ended.wait()
            await self.put(DeclarativeContent(FileContent(relative_path="1", sha256="1" * 64)))

    class Ends(EndStage):
        async def __call__(self) -> None:
            await super().__call__()
            asyncio.get_running_loop().call_later(0.001, ended.set)

    class Sync(DeclarativeVersion):
        def _all_stages(self, new_version: NewVersion) -> list[Stage]:
            return [*super()._all_stages(new_version)[:-1], Ends()]

    ended = asyncio.Event()
    stage = Careless()

    with pytest.raises(PipelineError, match="left behind"):
        await Sync(stage, Repository(name="units"), engine=engine).acreate()

    await asyncio.wait([stage.left])
    assert (await engine.catalog.repositories.version("units")).number == 0


@pytest.mark.parametrize("place", ["first", "middle"])
async def test_a_stage_that_lets_a_cancellation_out_fails_its_sync(
    engine: Engine, publish: Publish, place: str
) -> None:
    """It hung for ever."""
    url = publish({"a": b"1"})

    class Lets(Stage):
        async def run(self) -> None:
            child = asyncio.create_task(asyncio.sleep(60))
            await asyncio.sleep(0)
            child.cancel()
            await child

    class Sync(DeclarativeVersion):
        def pipeline_stages(self, new_version: NewVersion) -> list[Stage]:
            stages = super().pipeline_stages(new_version)
            return stages if place == "first" else [*stages[:2], Lets(), *stages[2:]]

    first = Lets() if place == "first" else FileFirstStage(Remote(name="files", url=url))

    async with asyncio.timeout(20):
        with pytest.raises(StageAbortedError, match="CancelledError came out of stage Lets"):
            await Sync(first, Repository(name="files"), engine=engine).acreate()

    (run,) = await engine.catalog.runs.newest("files")
    assert run.state == "failed"
