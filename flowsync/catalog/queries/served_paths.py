"""What is served of versions: a path of one, or a page of a folder.

1. A path is found in one round trip, together with the version that is meant: over the index of
   paths and then, for each unit that ever had the path in any repository, one probe of the
   memberships. It costs the same in a repository of ten versions and of ten thousand, unless the
   very path changed in each.
2. A page of a folder costs what it shows: what lies below a folder on it is skipped in one step of
   the index.
3. Only complete versions are seen. A moment means the newest version that was begun up to then.

One module: one question, asked of one version, of many and of none; the forms of its answer belong
together.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from flowsync.catalog.postgres.database import Database
from flowsync.catalog.records.remotes import SOURCE_DIGESTS, decode_headers, recorded_remote
from flowsync.catalog.versions.versions import repository_not_found
from flowsync.errors import CatalogError, VersionNotFoundError
from flowsync.model.artifact import Artifact, StagedArtifact, StoredArtifact
from flowsync.model.remote import Remote

FOLDER_PAGE: Final = 1000
"""Children of a folder that come at once."""

_AFTER_SLASH: Final = "0"
"""The sign behind the slash in order of code points."""


class ServedVersion(msgspec.Struct, frozen=True, kw_only=True):
    """A complete version as it is served: of the repository `name`, with `present` units, begun at
    `created`.
    """

    repository_id: int
    name: str
    number: int
    created: datetime
    present: int


class PathQuestion(msgspec.Struct, frozen=True):
    """What does a version of the repository, by number, or the newest at a moment, or the newest,
    have at a path?
    """

    name: str
    number: int | None
    moment: datetime | None
    path: str


class ServedFile(msgspec.Struct, frozen=True, kw_only=True):
    """What version `number` has at a path, since the version begun at `since`. `blake3` is `None`
    while the bytes are not here. `type` and `fields` are those of the unit, if they were asked for.
    """

    number: int
    content_id: bytes
    relative_path: str
    sha256: str | None
    blake3: str | None
    size: int | None
    since: datetime
    type: str | None = None
    fields: dict[str, Any] = {}


class FolderChild(msgspec.Struct, frozen=True, kw_only=True):
    """A child of a folder: a file, or a folder, whose `path` ends with a slash and of which nothing
    else is known.
    """

    path: str
    sha256: str | None = None
    size: int | None = None
    stored: bool = False
    since: datetime | None = None

    @property
    def is_folder(self) -> bool:
        """Whether more lies below."""
        return self.path.endswith("/")


class FolderPage(msgspec.Struct, frozen=True, kw_only=True):
    """Some children of a folder in order. `next` is where the next page begins; `None` when this is
    the last one.
    """

    children: list[FolderChild]
    next: str | None


class ServingSource(msgspec.Struct, frozen=True, kw_only=True):
    """Where bytes can be fetched from: URLs of a recorded remote, at (`content_id`,
    `relative_path`), with what upstream declared of them, and the headers to ask with.

    `cooling` says that it gave wrong bytes lately; `alternate` that it belongs to an alternate
    source.
    """

    content_id: bytes
    relative_path: str
    remote_id: int
    remote: Remote
    urls: list[str]
    headers: dict[str, str]
    artifact: Artifact
    cooling: bool
    alternate: bool


def own_policy(sources: Sequence[ServingSource]) -> str:
    """Return the policy that counts for a unit with these sources: not an alternate one's."""
    return next((source.remote.policy for source in sources if not source.alternate), "on_demand")


class Serving:
    """Look-ups for servers of versions; part of a `Catalog`. Any number of tasks may use it at
    once.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(
        self, name: str, number: int | None, moment: datetime | None, path: str
    ) -> ServedFile | None:
        """Return what a version (by number, the newest at a moment, or the newest) has at a path;
        `None` when it has nothing there.

        Raise `RepositoryNotFoundError` or `VersionNotFoundError`.
        """
        (found,) = await self.find_all([PathQuestion(name, number, moment, path)])
        if isinstance(found, CatalogError):
            raise found
        return found

    async def find_all(
        self, questions: Sequence[PathQuestion], described: Sequence[str] = ()
    ) -> list[ServedFile | CatalogError | None]:
        """Answer many questions in one round trip, each as `find` does; what it would raise is the
        answer. Of units of the types that are `described` the fields come with it.
        """
        params = {
            "described": list(described),
            "names": [question.name for question in questions],
            "numbers": [question.number for question in questions],
            "moments": [question.moment for question in questions],
            "paths": [question.path for question in questions],
        }
        rows = await self._database.fetch("find_at_paths", params)
        return [_found(question, row) for question, row in zip(questions, rows, strict=True)]

    async def find_lasting(
        self,
        version: ServedVersion,
        path: str,
        types: Sequence[str],
        seconds: float,
        described: Sequence[str] = (),
    ) -> ServedFile | None:
        """Return what a version before `version`, the newest, had at a path for units of some
        types, if that was the newest within so many seconds, or is the one before.
        """
        params = {
            "repository": version.repository_id,
            "number": version.number,
            "path": path,
            "types": list(types),
            "seconds": seconds,
            "described": list(described),
        }
        row = await self._database.fetch_one("find_lasting", params)
        return None if row is None else _served(path, row)

    async def version(
        self, name: str, number: int | None, moment: datetime | None
    ) -> ServedVersion:
        """Return the version that is meant. Raise `RepositoryNotFoundError` or
        `VersionNotFoundError`.
        """
        params = {"name": name, "number": number, "moment": moment}
        row = await self._database.fetch_one("find_served_version", params)
        if row is None:
            raise repository_not_found(name)
        if row[1] is None:
            raise _no_version(name, number, moment)
        repository_id, found, created, present = row
        return ServedVersion(
            repository_id=repository_id, name=name, number=found, created=created, present=present
        )

    async def sources(
        self, found: ServedFile, allowed: frozenset[str], cool_down: float
    ) -> list[ServingSource]:
        """Return where the bytes can be fetched from, in the order in which to try; those that
        failed within `cool_down` seconds are `cooling`.

        What alternate sources have is to be what was declared of the unit: their own word proves
        nothing about its bytes.
        """
        params = {
            "content": found.content_id,
            "path": found.relative_path,
            "allowed": list(allowed),
            "cool_down": cool_down,
        }
        sources = [_source(row) for row in await self._database.fetch("sources_at_path", params)]
        own = next((source.artifact for source in sources if not source.alternate), None)
        return [
            replace(source, artifact=own) if source.alternate and own is not None else source
            for source in sources
        ]

    async def mark_failed(self, source: ServingSource) -> None:
        """Note that the source gave wrong bytes just now."""
        params = {
            "content": source.content_id,
            "path": source.relative_path,
            "remote": source.remote_id,
        }
        await self._database.execute("mark_source_failed", params)

    async def link(self, found: ServedFile, artifact: StoredArtifact) -> None:
        """Let the path have the bytes that are recorded now."""
        params = {
            "content": found.content_id,
            "path": found.relative_path,
            "artifact": artifact.id,
        }
        await self._database.execute("link_artifact", params)

    async def note_bytes(self, found: ServedFile, served: StagedArtifact) -> None:
        """Let the path have no other bytes from now on than those that were served for it, which
        are not kept.
        """
        params = {
            "content": found.content_id,
            "path": found.relative_path,
            "sha256": bytes.fromhex(served.digests()["sha256"]),
            "size": served.size,
        }
        await self._database.execute("note_bytes", params)

    async def newest_versions(self, version: ServedVersion, count: int) -> list[ServedVersion]:
        """Return the newest versions of the version's repository, newest first."""
        params = {"repository": version.repository_id, "count": count}
        return [
            ServedVersion(
                repository_id=version.repository_id,
                name=version.name,
                number=number,
                created=created,
                present=present,
            )
            for number, created, present in await self._database.fetch("newest_versions", params)
        ]

    async def folder(
        self,
        version: ServedVersion,
        folder: str,
        after: str | None = None,
        count: int = FOLDER_PAGE,
    ) -> FolderPage:
        """Return a page of the children of `folder`, which is empty or ends with a slash; `after`
        is the `next` of the page before.
        """
        params = {
            "repository": version.repository_id,
            "number": version.number,
            "folder": folder,
            "end": f"{folder[:-1]}{_AFTER_SLASH}" if folder else None,
            "after": folder if after is None else after,
            "count": count + 1,
        }
        rows = await self._database.fetch("list_folder", params)
        return FolderPage(
            children=[_child(row) for row in rows[:count]],
            next=rows[count - 1][1] if len(rows) > count else None,
        )


def _found(question: PathQuestion, row: tuple[Any, ...]) -> ServedFile | CatalogError | None:
    _, repository_id, number, content_id, *_ = row
    if repository_id is None:
        return repository_not_found(question.name)
    if number is None:
        return _no_version(question.name, question.number, question.moment)
    if content_id is None:
        return None
    return _served(question.path, row)


def _served(path: str, row: tuple[Any, ...]) -> ServedFile:
    _, _, number, content_id, sha256, blake3, size, since, type_name, fields = row
    return ServedFile(
        number=number,
        content_id=content_id,
        relative_path=path,
        sha256=_hex(sha256),
        blake3=_hex(blake3),
        size=size,
        since=since,
        type=type_name,
        fields={} if fields is None else msgspec.json.decode(fields),
    )


def _child(row: tuple[Any, ...]) -> FolderChild:
    path, _, sha256, size, stored, since = row
    if path.endswith("/"):
        return FolderChild(path=path)
    return FolderChild(path=path, sha256=_hex(sha256), size=size, stored=bool(stored), since=since)


def _source(row: tuple[Any, ...]) -> ServingSource:
    content_id, path, remote_id, name, url, policy, settings, urls, headers, size = row[:10]
    *digests, cooling, alternate = row[10:]
    declared = {
        algorithm: digest.hex()
        for algorithm, digest in zip(SOURCE_DIGESTS, digests, strict=True)
        if digest is not None
    }
    return ServingSource(
        content_id=content_id,
        relative_path=path,
        remote_id=remote_id,
        remote=recorded_remote(name, url, policy, settings),
        urls=urls,
        headers=decode_headers(headers),
        artifact=Artifact(size=size, **declared),
        cooling=cooling,
        alternate=alternate,
    )


def _hex(digest: bytes | None) -> str | None:
    return None if digest is None else digest.hex()


def _no_version(name: str, number: int | None, moment: datetime | None) -> VersionNotFoundError:
    if number is not None:
        return VersionNotFoundError(f"repository {name!r} has no complete version {number}")
    when = "" if moment is None else f" of {moment.isoformat()} or before"
    return VersionNotFoundError(f"repository {name!r} has no complete version{when}")
