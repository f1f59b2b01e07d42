"""Plays a scene with a real engine, database and upstream, and compares what comes of it with the
model.

Every sync ends in the version that the model foretells, or in an error that says what upstream did,
and then nothing of it is visible. After every round catalog and store agree, nothing is staged and
nothing is in flight. In the end the same repositories are synced from an upstream that behaves:
whatever happened before, that succeeds.
"""

import asyncio
import hashlib
import os
from pathlib import Path
from typing import Any

from flowsync import (
    Artifact,
    Backoff,
    Content,
    DeclarativeArtifact,
    DeclarativeContent,
    DeclarativeVersion,
    Engine,
    Remote,
    Repository,
    Stage,
    SyncResult,
    VersionEntry,
)
from flowsync.errors import RepositoryNotFoundError
from flowsync.sources.file import FileFirstStage
from flowsync.sources.file.content import FileContent
from tests.integration.faults.foretelling import Route
from tests.integration.faults.model import Model, State
from tests.integration.faults.scenes import (
    ALTERNATE_RETRIES,
    FilePlan,
    Round,
    Scene,
    SyncPlan,
    UnitPlan,
    clean,
)
from tests.system.publishing import manifest_of
from tests.system.records import expect_whole, staged
from tests.upstream.behaviours import Behaviour, Change
from tests.upstream.server import Upstream

QUICK = Backoff(base=0.002, cap=0.01, patience=0.02)


class Pair(Content):
    """A unit of several files."""

    type_name = "test.pair"
    natural_key = ("name", "digests")
    repo_key = ("name",)

    name: str
    digests: tuple[str, ...]


class Declares(Stage):
    """A first stage that knows its units without asking upstream."""

    def __init__(self, remote: Remote, units: tuple[UnitPlan, ...], upstream: Upstream) -> None:
        self.remote = remote
        self._items = [_declared(unit, remote, upstream) for unit in units]

    async def run(self) -> None:
        await self.put_all(self._items)


async def play(scene: Scene, conninfo: str, home: Path) -> Model:
    """Play the scene. Raise `AssertionError` where it does not end as it must."""
    model = Model(scene)
    with Upstream() as upstream:
        async with Engine(
            home,
            database_url=conninfo,
            hash_workers=1,
            workers=scene.workers,
            in_flight_bytes=scene.in_flight_bytes,
            in_flight_items=scene.in_flight_items,
            backoff=QUICK,
        ) as engine:
            if scene.alternates:
                await _offer_alternates(scene, engine, upstream)
            for file in scene.alternates.values():
                _install(file.routes[0], upstream)
            for syncs in (*scene.rounds, tuple(clean(plan) for plan in scene.rounds[-1])):
                await _play_round(syncs, model, engine, upstream)
                _expect_nothing_left(engine)
                expect_whole(conninfo, home)
    assert staged(home) == []
    return model


async def _offer_alternates(scene: Scene, engine: Engine, upstream: Upstream) -> None:
    """Record an alternate source by an on-demand sync of its own."""
    files = scene.alternates.values()
    url = upstream.put(
        "/alternate/PULP_MANIFEST", manifest_of({file.path: file.body for file in files})
    )
    remote = Remote(name="alternate", url=url, policy="on_demand", max_retries=ALTERNATE_RETRIES)
    await DeclarativeVersion(
        FileFirstStage(remote), Repository(name="alternate"), engine=engine
    ).acreate()
    await engine.add_alternate_source("alternate", remote)


async def _play_round(syncs: Round, model: Model, engine: Engine, upstream: Upstream) -> None:
    for plan in syncs:
        for route in _routes(plan):
            _install(route, upstream)
    model.begin(syncs)
    outcomes = await asyncio.gather(
        *(_sync(plan, engine, upstream) for plan in syncs), return_exceptions=True
    )
    for plan, outcome in zip(syncs, outcomes, strict=True):
        try:
            await _judge(plan, outcome, model, engine)
        except AssertionError as error:
            error.add_note(f"outcome: {outcome!r}")
            error.add_note(f"plan: {plan.repository} {_shown(plan)}")
            raise


async def _sync(plan: SyncPlan, engine: Engine, upstream: Upstream) -> SyncResult:
    remote = Remote(
        name=plan.repository,
        url=upstream.url(plan.manifest.path if plan.manifest else "/"),
        policy=plan.policy,
        max_retries=plan.max_retries,
        download_concurrency=plan.concurrency,
        stall_timeout=plan.stall_timeout,
    )
    declarative = DeclarativeVersion(
        FileFirstStage(remote) if plan.manifest else Declares(remote, plan.units, upstream),
        Repository(name=plan.repository),
        plan.mirror,
        plan.acs,
        engine=engine,
        on_error=plan.on_error,
        max_errors=plan.max_errors,
    )
    sync = asyncio.create_task(declarative.acreate())
    cancelling = asyncio.create_task(_cancel(sync, plan.cancel_after, upstream))
    try:
        await asyncio.wait([sync])
    finally:
        cancelling.cancel()
        sync.cancel()
    sync.result()
    assert declarative.result is not None
    return declarative.result


async def _cancel(sync: asyncio.Task[object], after: int | None, upstream: Upstream) -> None:
    """Cancel the sync when upstream has seen so many requests more."""
    if after is not None:
        count = upstream.count() + after
        while upstream.count() < count:  # noqa: ASYNC110 -- a thread that waits could not be told that the sync has ended
            await asyncio.sleep(0.001)
        sync.cancel()


async def _judge(
    plan: SyncPlan, outcome: SyncResult | BaseException, model: Model, engine: Engine
) -> None:
    entries = await _entries(plan.repository, engine)
    # What is on demand has no digest of its own yet; a sync that failed has brought none of what
    # was new.
    known = dict(model.state(plan).paths)
    number = await _number(plan.repository, engine)
    if number > model.state(plan).number:
        known |= {file.path: file.sha256 for unit in plan.units for file in unit.files}
    paths = {path: entry.sha256 or known.get(path, "") for path, entry in entries.items()}
    after = State(number, paths)
    if isinstance(outcome, BaseException):
        model.failed(plan, outcome, after)
    else:
        model.succeeded(plan, outcome, after)
        model.check_entries(plan, outcome, entries)


async def _number(repository: str, engine: Engine) -> int:
    try:
        return (await engine.catalog.repositories.version(repository)).number
    except RepositoryNotFoundError:
        return 0


async def _entries(repository: str, engine: Engine) -> dict[str, VersionEntry]:
    entries = engine.catalog.repositories.entries(repository)
    try:
        return {entry.relative_path: entry async for batch in entries for entry in batch}
    except RepositoryNotFoundError:
        # Cancelled before it began.
        return {}


def _expect_nothing_left(engine: Engine) -> None:
    """Fail unless nothing is in flight, and the engine stages nothing but its own empty folders."""
    budget = engine.budget
    assert (budget.size_in_flight, budget.items_in_flight) == (0, 0)
    staging = engine.home / "store" / "staging"
    assert [
        name for _, _, names in os.walk(staging) for name in names if not name.endswith(".lock")
    ] == []


def _routes(plan: SyncPlan) -> list[Route]:
    routes = [route for unit in plan.units for file in unit.files for route in file.routes]
    return [plan.manifest, *routes] if plan.manifest else routes


def _install(route: Route, upstream: Upstream) -> None:
    upstream.put(route.path, route.body, etag=route.etag)
    upstream.script(route.path, *(fault.behaviour for fault in route.faults))
    upstream.always(route.path, route.last.behaviour)
    if route.moved is not None:
        upstream.put(*route.moved)


def _declared(unit: UnitPlan, remote: Remote, upstream: Upstream) -> DeclarativeContent:
    content: Content
    if len(unit.files) == 1:
        (file,) = unit.files
        content = FileContent(relative_path=file.path, sha256=file.sha256)
    else:
        name = os.path.dirname(unit.files[0].path)
        content = Pair(name=name, digests=tuple(file.sha256 for file in unit.files))
    artifacts = [_declared_file(file, remote, upstream) for file in unit.files]
    return DeclarativeContent(content=content, d_artifacts=artifacts)


def _declared_file(file: FilePlan, remote: Remote, upstream: Upstream) -> DeclarativeArtifact:
    fields: dict[str, Any] = {
        "size": len(file.body),
        "md5": hashlib.md5(file.body).hexdigest(),
        "sha256": file.sha256,
        "sha512": hashlib.sha512(file.body).hexdigest(),
    }
    return DeclarativeArtifact(
        Artifact(**{name: fields[name] for name in file.known}),
        urls=[upstream.url(route.path) for route in file.routes],
        relative_path=file.path,
        remote=remote,
        deferred_download=remote.deferred,
    )


def _shown(plan: SyncPlan) -> str:
    options = {
        name: getattr(plan, name)
        for name in plan.__struct_fields__
        if name not in {"units", "manifest"}
    }
    lines = [str(options), *(_shown_route(route) for route in _routes(plan))]
    return "\n  ".join(lines)


def _shown_route(route: Route) -> str:
    steps = [
        f"{fault.outcome.name} {_shortened(fault.behaviour)}"
        for fault in (*route.faults, route.last)
    ]
    return f"{route.path} ({len(route.body)} bytes, etag {route.etag}): {', '.join(steps)}"


def _shortened(behaviour: Behaviour) -> str:
    return "Change(…)" if isinstance(behaviour, Change) else repr(behaviour)
