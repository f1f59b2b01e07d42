"""Content for tests of versions: units with paths, stored or only declared."""

import hashlib
from collections.abc import Mapping
from typing import ClassVar

from blake3 import blake3

from flowsync.catalog.postgres.database import Database
from flowsync.catalog.records.contents import Artifacts, Contents, Link
from flowsync.catalog.records.remotes import RecordedSource, Remotes
from flowsync.model.artifact import Artifact, StagedArtifact
from flowsync.model.content import Content, key_id
from flowsync.model.remote import Remote


class File(Content):
    """A file, of which a version has one a path."""

    type_name: ClassVar[str] = "test.file"
    natural_key: ClassVar[tuple[str, ...]] = ("relative_path", "body")
    repo_key: ClassVar[tuple[str, ...]] = ("relative_path",)
    relative_path: str
    body: str


class Package(Content):
    """A package, of which a version may have any number."""

    type_name: ClassVar[str] = "test.package"
    natural_key: ClassVar[tuple[str, ...]] = ("name",)
    name: str


class Shelf:
    """Puts units into the catalog."""

    def __init__(self, database: Database) -> None:
        self._artifacts = Artifacts(database, lambda name: f"/blobs/{name}")
        self._contents = Contents(database)
        self._remotes = Remotes(database)

    async def put(self, content: Content, bodies: Mapping[str, bytes | None]) -> bytes:
        """Save a unit with the bytes at its paths, `None` for what was never fetched, and return
        its id.
        """
        unit = key_id(content)
        links = []
        for path, body in bodies.items():
            artifact = None if body is None else (await self._artifacts.save([staged(body)]))[0].id
            links.append(Link(content_id=unit, relative_path=path, artifact_id=artifact))
        await self._save({unit: content}, links)
        return unit

    async def put_all(self, contents: Mapping[str, Content]) -> list[bytes]:
        """Save units that have one path each, never fetched, in one go."""
        units = {key_id(content): content for content in contents.values()}
        links = [
            Link(content_id=unit, relative_path=path)
            for unit, path in zip(units, contents, strict=True)
        ]
        await self._save(units, links)
        return list(units)

    async def files(self, *paths: str, body: str = "one") -> list[bytes]:
        """Save a file a path, never fetched."""
        return await self.put_all({path: File(relative_path=path, body=body) for path in paths})

    async def packages(self, *names: str) -> list[bytes]:
        """Save a package a name, each with a path of its own, never fetched."""
        return await self.put_all({f"pool/{name}": Package(name=name) for name in names})

    async def _save(self, units: Mapping[bytes, Content], links: list[Link]) -> None:
        async with self._contents.transaction() as transaction:
            new = await transaction.insert(units)
            await transaction.link([link for link in links if link.content_id in new])

    async def declare(self, unit: bytes, path: str, artifact: Artifact) -> None:
        """Save what a remote says of the bytes at a path of a unit."""
        remote = Remote(name="upstream", url="http://upstream.example/")
        ids = await self._remotes.ids([remote])
        source = RecordedSource(
            content_id=unit,
            relative_path=path,
            remote_id=ids["upstream"],
            urls=[f"http://upstream.example/{path}"],
            artifact=artifact,
        )
        assert await self._remotes.save_sources([source]) == []


def staged(body: bytes) -> StagedArtifact:
    """Make the artifact of some bytes."""
    return StagedArtifact(
        size=len(body),
        sha256=hashlib.sha256(body).hexdigest(),
        blake3=blake3(body).hexdigest(),
        body=body,
    )
