"""Every version stays what it was when it was made, whatever is declared, fetched, reclaimed,
repaired, pruned, restored or deleted later.

A life is a series of such steps on a few repositories of one engine; after each, every version is
compared with what was seen of it before. `FLOWSYNC_LIVES` is how many lives are tried, from
`FLOWSYNC_SEED` on; each has `FLOWSYNC_STEPS` steps.
"""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from random import Random

import msgspec
import pytest

from flowsync import (
    DeclarativeContent,
    DeclarativeVersion,
    Engine,
    Policy,
    Remote,
    Repository,
    RepositoryVersion,
    Stage,
    export_version,
    prune,
    reclaim,
    verify,
)
from flowsync.errors import DuplicateContentError, RepositoryVersionError, VersionKeptError
from flowsync.model.repository import VersionEntry
from flowsync.serve.app import ContentServer
from tests.integration.serve.conftest import Client
from tests.integration.sync import redeclaring
from tests.integration.sync.redeclaring import Unit
from tests.upstream.server import Upstream

LIVES = int(os.environ.get("FLOWSYNC_LIVES", "4"))
SEED = int(os.environ.get("FLOWSYNC_SEED", "0"))
STEPS = int(os.environ.get("FLOWSYNC_STEPS", "20"))

REPOSITORIES = ["r", "s", "t"]
LAZY: list[Policy] = ["on_demand", "streamed"]

Held = list[tuple[Unit, object]]
"""What a version holds, for the model."""


class Seen(msgspec.Struct):
    """What was seen of a version. Digest and size of a path may become known, never others; `bytes`
    were served or exported.
    """

    root: str
    fields: dict[bytes, str]
    paths: dict[tuple[bytes, str], tuple[str | None, int | None]]
    bytes: dict[str, bytes]


class Given(Stage):
    def __init__(self, remote: Remote, items: list[DeclarativeContent]) -> None:
        self.remote = remote
        self._items = items

    async def run(self) -> None:
        await self.put_all(self._items)


class Life:
    """Some repositories, what is seen of their versions, and what they are to hold."""

    def __init__(self, seed: int, engine: Engine, upstream: Upstream, folder: Path) -> None:
        self.random = Random(seed)
        self.engine = engine
        self.upstream = upstream
        self.folder = folder
        self.seen: dict[tuple[str, int], Seen] = {}
        self.held: dict[tuple[str, int], Held] = {}
        self.bodies: dict[str, bytes] = {}
        self.story: list[str] = []
        self.made = 0

    async def step(self) -> None:
        kinds = [self.sync] * 12 + [self.serve] * 4 + [self.export] * 2 + [self.reclaim] * 2
        kinds += [self.roll_back, self.delete, self.prune, self.repair, self.change_upstream]
        kind = self.random.choice(kinds)
        await kind()

    # --- steps -------------------------------------------------------------------------------

    async def sync(self) -> None:
        random, name = self.random, self.random.choice(REPOSITORIES)
        policy: Policy = random.choice([*LAZY, *LAZY, "immediate", "immediate", "immediate"])
        mirror = random.random() < 0.5
        units = redeclaring.draw_units(random, name)
        for unit in units:
            for file in unit.files:
                self._publish(file.url, file.body)
        # Two files without a digest may share a URL: what is there in the end is what both have.
        units = [unit for unit in units if self._is_true(unit)]
        self.story.append(f"sync {name} {policy} mirror={mirror} {units}")
        before = await self._latest(name)
        expected = redeclaring.after(
            self.held.get((name, before), []), units, mirror=mirror, policy=policy
        )
        plan = None
        digests = [file.has_digest for unit in units for file in unit.files]
        if policy != "immediate" or all(digests):
            plan = await self._declared(name, units, policy, mirror=mirror).aplan()
        try:
            version = await self._declared(name, units, policy, mirror=mirror).acreate()
        except DuplicateContentError:
            assert expected is None
            assert await self._latest(name) == before
            return
        except RepositoryVersionError:
            # Units that may be together, but not at the paths that they have.
            assert await self._latest(name) == before
            return
        assert expected is not None, "two units of one key were taken"
        same = {proof for _, proof in expected} == {
            proof for _, proof in self.held.get((name, before), [])
        }
        assert (version is None) is same
        if version is not None:
            self.made += 1
            self.held[name, version.number] = expected
            await self._look(version)
            self._compare_with_model(version, expected)
            assert plan is None or plan.root == version.root

    async def serve(self) -> None:
        found = await self._any_path()
        if found is None:
            return
        (name, number), path = found
        self.story.append(f"serve {name}@{number}/{path}")
        async with ContentServer(self.engine) as server:
            client = Client(server.addresses[0][1])
            reply = await client.get(f"/{name}@{number}/{path}")
            # No event of the product's tells that nothing is fetched any more.
            while server.metrics.running_fetches:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        if reply.status == 200 and reply.complete:
            self._note(name, number, path, reply.body)

    async def export(self) -> None:
        if not self.seen:
            return
        name, number = self.random.choice(sorted(self.seen))
        if await self.engine.catalog.repositories.missing_artifacts(name, number):
            return
        self.story.append(f"export {name}@{number}")
        out = self.folder / f"out{len(self.story)}"
        await export_version(self.engine, name, out, number)
        for _, path in self.seen[name, number].paths:
            self._note(name, number, path, (out / path).read_bytes())

    async def reclaim(self) -> None:
        found = await self._any_path()
        if found is None:
            return
        (name, number), _ = found
        versions = self.random.choice([None, [number]])
        self.story.append(f"reclaim {name} {versions}")
        await reclaim(self.engine, name, versions, apply=True)

    async def roll_back(self) -> None:
        found = await self._any_path()
        if found is None:
            return
        (name, number), _ = found
        self.story.append(f"roll back {name} to {number}")
        version = await self.engine.catalog.repositories.roll_back(name, number)
        if version is not None:
            self.held[name, version.number] = self.held[name, number]
            assert version.root == self.seen[name, number].root
            await self._look(version)
            self._compare_with_model(version, self.held[name, number])

    async def delete(self) -> None:
        found = await self._any_path()
        if found is None:
            return
        (name, number), _ = found
        self.story.append(f"delete {name}@{number}")
        try:
            await self.engine.catalog.repositories.delete_version(name, number)
        except VersionKeptError:
            return
        del self.seen[name, number]
        del self.held[name, number]

    async def prune(self) -> None:
        self.story.append("prune")
        await prune(self.engine, older_than=timedelta(0), apply=True)

    async def repair(self) -> None:
        blobs = sorted((self.engine.home / "store" / "blake3").glob("*/*"))
        if not blobs:
            return
        self.story.append("damage and repair")
        self.random.choice(blobs).unlink()
        await verify(self.engine, repair=True)

    async def change_upstream(self) -> None:
        """Let upstream have other bytes where nobody ever said which are right."""
        self.story.append("upstream changes")
        for url in sorted(self.bodies):
            if not url.startswith("/bodies/") and self.random.random() < 0.5:
                self._publish(url, self.bodies[url] + b"!")

    # --- what is seen ------------------------------------------------------------------------

    async def compare(self) -> None:
        """Compare all versions with what was seen of them before."""
        for name, number in self.seen:
            version = await self.engine.catalog.repositories.version(name, number)
            await self._look(version)

    async def _look(self, version: RepositoryVersion) -> None:
        name, number = version.repository, version.number
        entries = await self._entries(name, number)
        assert version.root is not None
        now = Seen(
            root=version.root,
            fields=await self._fields(name, number),
            paths={
                (entry.content_id, entry.relative_path): (entry.sha256, entry.size)
                for entry in entries
            },
            bytes={},
        )
        before = self.seen.get((name, number), now)
        assert (now.root, now.fields) == (before.root, before.fields)
        assert now.paths.keys() == before.paths.keys()
        for place, known in before.paths.items():
            for old, new in zip(known, now.paths[place], strict=True):
                assert old in {None, new}, f"{name}@{number} {place}: {old} became {new}"
        now.bytes = before.bytes
        self.seen[name, number] = now
        for entry in entries:
            self._check_blob(name, number, entry)

    def _check_blob(self, name: str, number: int, entry: VersionEntry) -> None:
        if entry.stored:
            assert entry.blake3 is not None
            blob = Path(str(self.engine.store.local(entry.blake3)))
            # A blob that could not be repaired is missing, and nothing else is in its place.
            if blob.exists():
                self._note(name, number, entry.relative_path, blob.read_bytes())

    def _note(self, name: str, number: int, path: str, body: bytes) -> None:
        seen = self.seen[name, number]
        assert seen.bytes.setdefault(path, body) == body, f"{name}@{number}/{path} changed"
        known = {sha256 for (_, other), (sha256, _) in seen.paths.items() if other == path}
        assert known <= {None, hashlib.sha256(body).hexdigest()}

    def _compare_with_model(self, version: RepositoryVersion, held: Held) -> None:
        seen = self.seen[version.repository, version.number]
        expected = sorted(_canonical(msgspec.json.encode(unit.content)) for unit, _ in held)
        assert sorted(map(_canonical, seen.fields.values())) == expected
        assert sorted(path for _, path in seen.paths) == sorted(
            file.path for unit, _ in held for file in unit.files
        )
        wanted = {
            (file.path, redeclaring.digest("sha256", file.body))
            for unit, _ in held
            for file in unit.files
            if "sha256" in file.known
        }
        assert wanted <= {(path, sha256) for (_, path), (sha256, _) in seen.paths.items()}

    # --- helpers -----------------------------------------------------------------------------

    def _declared(
        self, name: str, units: list[Unit], policy: Policy, *, mirror: bool
    ) -> DeclarativeVersion:
        remote = Remote(name=name, url=self.upstream.url(), policy=policy, max_retries=0)
        root = self.upstream.url("")
        stage = Given(remote, [redeclaring.declare(unit, remote, root) for unit in units])
        return DeclarativeVersion(stage, Repository(name=name), mirror, engine=self.engine)

    def _is_true(self, unit: Unit) -> bool:
        return all(self.bodies[file.url] == file.body for file in unit.files)

    def _publish(self, url: str, body: bytes) -> None:
        self.bodies[url] = body
        self.upstream.put(url, body)

    async def _any_path(self) -> tuple[tuple[str, int], str] | None:
        places = [(version, path) for version, seen in self.seen.items() for _, path in seen.paths]
        doubtful = [
            (version, file.path)
            for version, held in self.held.items()
            for unit, _ in held
            for file in unit.files
            if not file.has_digest
        ]
        if doubtful and self.random.random() < 0.6:
            places = doubtful
        return self.random.choice(places) if places else None

    async def _latest(self, name: str) -> int:
        await self.engine.catalog.repositories.ensure(Repository(name=name))
        return (await self.engine.catalog.repositories.version(name)).number

    async def _entries(self, name: str, number: int) -> list[VersionEntry]:
        batches = self.engine.catalog.repositories.entries(name, number)
        return [entry async for batch in batches for entry in batch]

    async def _fields(self, name: str, number: int) -> dict[bytes, str]:
        batches = self.engine.catalog.repositories.content_ids(name, number)
        ids = [content_id async for batch in batches for content_id in batch]
        async with self.engine.catalog.database.connection() as connection:
            cursor = await connection.execute(
                "SELECT id, fields::text FROM content WHERE id = ANY (%s)", (ids,)
            )
            found = dict(await cursor.fetchall())
        assert len(found) == len(ids)
        return found


def _canonical(fields: str | bytes) -> bytes:
    return msgspec.json.encode(msgspec.json.decode(fields), order="sorted")


@pytest.fixture
async def life(seed: int, conninfo: str, tmp_path: Path, upstream: Upstream) -> AsyncIterator[Life]:
    workers = 1 if seed % 6 == 5 else 0
    async with Engine(tmp_path / "home", database_url=conninfo, workers=workers) as engine:
        yield Life(seed, engine, upstream, tmp_path)


@pytest.mark.parametrize("seed", range(SEED, SEED + LIVES))
async def test_versions_never_change(life: Life) -> None:
    try:
        for _ in range(STEPS):
            await life.step()
            await life.compare()
    except BaseException as error:
        error.add_note("\n".join(life.story))
        raise
    assert life.made > STEPS // 10
