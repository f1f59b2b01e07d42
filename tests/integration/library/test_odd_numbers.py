"""Numbers that cannot be meant, in every place of the library that takes one: refused when they are
given, in words.
"""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from flowsync import (
    ArtifactDownloader,
    Backoff,
    ContentServer,
    ContentUnassociation,
    DeclarativeVersion,
    Document,
    Engine,
    FetchRequest,
    FuturesExecutor,
    Remote,
    Repository,
    ServerLimits,
    Stage,
    library,
)
from flowsync.errors import (
    DeclarationError,
    FlowsyncError,
    MassRemovalError,
    SettingsError,
    VersionNotFoundError,
)
from flowsync.pipeline.pipeline import Pipeline
from tests.integration.sync.conftest import Publish, Sync, paths

NAN = math.nan
NO_COUNTS: list[Any] = [NAN, math.inf, -1, 1.5, "3", True, 10**30]
NO_MEASURES: list[Any] = [NAN, math.inf, -1.0, "3", 10**30]
REMOTE = Remote(name="r", url="http://localhost/")


def limits_with(field: str, value: Any) -> ServerLimits:
    return ServerLimits(**{field: value})


# What takes a whole number, by the name under which it is told.
COUNTS: dict[str, Callable[[Any], object]] = {
    "max_connections": lambda it: Engine("home", max_connections=it),
    "hash_workers": lambda it: Engine("home", hash_workers=it),
    "workers": lambda it: Engine("home", workers=it),
    "in_flight_bytes": lambda it: Engine("home", in_flight_bytes=it),
    "in_flight_items": lambda it: Engine("home", in_flight_items=it),
    "syncs_at_once": lambda it: Engine("home", syncs_at_once=it),
    "max_errors": lambda it: DeclarativeVersion(Stage(), Repository(name="r"), max_errors=it),
    "maxsize": lambda it: DeclarativeVersion(Stage(), Repository(name="r"), maxsize=it),
    "retain_versions": lambda it: Repository(name="r", retain_versions=it),
    "max_retries": lambda it: Remote(name="r", url="http://localhost/", max_retries=it),
    "max_size": lambda it: FetchRequest(url="http://h/", remote=REMOTE, max_size=it),
    "size": lambda it: FetchRequest(url="http://h/", remote=REMOTE, size=it),
    "connections": lambda it: ServerLimits(connections=it),
    "port": lambda it: ContentServer(Engine("home"), port=it),
    "max_concurrent_content": ArtifactDownloader,
    "status": lambda it: Document(body=b"", status=it),
}

MEASURES: dict[str, Callable[[Any], object]] = {
    "max_removal": lambda it: DeclarativeVersion(Stage(), Repository(name="r"), max_removal=it),
    "max_removal must": lambda it: ContentUnassociation(None, it),  # type: ignore[arg-type]
    "timeout": lambda it: DeclarativeVersion(Stage(), Repository(name="r"), timeout=it),
    "stall_timeout": lambda it: DeclarativeVersion(Stage(), Repository(name="r"), stall_timeout=it),
    "stall_timeout must": lambda it: Pipeline([Stage()], stall_timeout=it),
    "base": lambda it: Backoff(base=it),
    "cap": lambda it: Backoff(cap=it),
    "patience=": lambda it: Backoff(patience=it),
    "rate_limit": lambda it: Remote(name="r", url="http://localhost/", rate_limit=it),
    **{
        field: partial(limits_with, field)
        for field in ("stall", "idle", "grace", "cool_down", "patience", "lasting")
    },
}


@pytest.mark.parametrize("given", NO_COUNTS, ids=repr)
@pytest.mark.parametrize("name", COUNTS)
def test_a_constructor_refuses_what_is_no_count(name: str, given: Any) -> None:
    if name.endswith("size") and given == 10**30:
        given = 10**40
    with pytest.raises(FlowsyncError, match=name):
        COUNTS[name](given)


@pytest.mark.parametrize("given", NO_MEASURES, ids=repr)
@pytest.mark.parametrize("name", MEASURES)
def test_a_constructor_refuses_what_is_no_measure(name: str, given: Any) -> None:
    with pytest.raises(FlowsyncError, match=name):
        MEASURES[name](given)


@pytest.mark.parametrize("given", [NAN, math.inf, -1, 0, 1.5, "3", True])
def test_an_executor_needs_at_least_one_worker(given: Any) -> None:
    with ThreadPoolExecutor(1) as threads, pytest.raises(SettingsError, match="workers must be"):
        FuturesExecutor(threads, given, shares_files=True)


@pytest.fixture
async def mirror(publish: Publish, file_sync: Sync) -> Callable[..., Any]:
    await file_sync(publish({"a": b"one", "b": b"two"}), mirror=True).acreate()
    return lambda **how: file_sync(publish({}), mirror=True, **how)


async def test_a_share_that_is_no_number_empties_no_mirror(
    engine: Engine, mirror: Callable[..., Any]
) -> None:
    with pytest.raises(SettingsError, match="max_removal must be a share from 0 to 1, found nan"):
        mirror(max_removal=NAN)

    assert set(await paths(engine)) == {"a", "b"}


async def test_a_share_that_became_no_number_empties_no_mirror(
    engine: Engine, mirror: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stage of one's own may set its attribute to anything."""

    class Careless(DeclarativeVersion):
        def _all_stages(self, new_version: Any) -> list[Stage]:
            stages = super()._all_stages(new_version)
            for stage in stages:
                if isinstance(stage, ContentUnassociation):
                    stage.max_removal = NAN
            return stages

    sync = mirror()
    careless = Careless(sync.first_stage, sync.repository, mirror=True, engine=engine)

    with pytest.raises(MassRemovalError):
        await careless.acreate()

    assert set(await paths(engine)) == {"a", "b"}


@pytest.mark.parametrize("limit", [NAN, math.inf, 0.0, -1.0, 1e-300, 10**30, "3"])
async def test_verification_refuses_a_rate_that_cannot_be_kept(engine: Engine, limit: Any) -> None:
    with pytest.raises(SettingsError, match=r"limit must be .*, found"):
        await library.verify(engine, limit=limit)


@pytest.mark.parametrize("span", [timedelta.max, timedelta.min, timedelta(-1), 3600])
async def test_clean_up_refuses_a_span_that_the_database_cannot_count(
    engine: Engine, span: Any
) -> None:
    for work in (library.prune, library.remove_runs):
        with pytest.raises(SettingsError, match="older_than must be a timedelta from 0"):
            await work(engine, older_than=span)


@pytest.mark.parametrize("number", [NAN, math.inf, 0.5, "1", True, -1, 10**30])
async def test_what_is_no_number_of_a_version_is_not_found(
    engine: Engine, mirror: Callable[..., Any], number: Any
) -> None:
    with pytest.raises(VersionNotFoundError):
        await library.version(engine, "files", number)
    with pytest.raises(VersionNotFoundError):
        await library.roll_back(engine, "files", number)
    with pytest.raises(FlowsyncError):
        await library.run(engine, number)


@pytest.mark.parametrize("given", [NAN, 0.5, "1", -1])
async def test_other_functions_refuse_what_is_no_count(
    engine: Engine, mirror: Callable[..., Any], given: Any
) -> None:
    with pytest.raises(SettingsError, match="limit must be"):
        await library.runs(engine, "files", given)
    with pytest.raises(SettingsError, match="keep_latest must be"):
        await library.reclaim(engine, "files", keep_latest=given)
    with pytest.raises(SettingsError, match="the number of a version must be"):
        await library.reclaim(engine, "files", [1, given])


@pytest.mark.parametrize("priority", [NAN, 0.5, "1", 2**31, -(2**31) - 1])
async def test_a_priority_is_a_number_that_the_catalog_can_hold(
    engine: Engine, priority: Any
) -> None:
    with pytest.raises(DeclarationError, match="priority must be"):
        await library.add_alternate_source(engine, "near", "file", REMOTE, priority=priority)
    with pytest.raises(DeclarationError, match="priority must be"):
        await engine.add_alternate_source("near", REMOTE, priority=priority)


async def test_closing_refuses_what_is_no_number_and_stays_open(
    tmp_path: Path, conninfo: str
) -> None:
    async with Engine(tmp_path / "own", database_url=conninfo) as engine:
        for drain in (NAN, "3", None):
            with pytest.raises(SettingsError, match="drain must be a number"):
                await engine.close(drain=drain)  # type: ignore[arg-type]
        assert engine.is_open
