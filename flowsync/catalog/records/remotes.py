"""The remotes that are recorded, and where each artifact of content can be fetched from.

1. No credential is recorded. Which settings of a remote are kept is a list of names here, not all
   but some: a setting that `Remote` gains is left out until it is thought about. URLs are
   recorded whole: they are what is fetched.
2. A source is one (unit, path, remote): all its URLs in order, with the size and the digests that
   upstream declared. It needs the unit's link at that path. A batch is one statement, sorted by
   key, and writes no row that does not change. Size and digests that are recorded stay, because
   older versions rely on them; how to ask for the bytes is what was declared last.
3. Alternate sources are remotes that are asked for the same digest before an artifact's own remote
   is.

Decisions: docs/decisions/0004.

Also here: what belongs to an alternate source. An alternate source is a remote with a hidden
repository.
"""

import re
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

import msgspec

from flowsync.catalog.postgres.database import Database, column, digest_columns
from flowsync.catalog.postgres.sessions import Connection
from flowsync.catalog.versions.versions import locked_connection
from flowsync.errors import CatalogError, DeclarationError
from flowsync.model.artifact import DECLARABLE, Artifact, StagedArtifact, StoredArtifact
from flowsync.model.measures import problem_with_count
from flowsync.model.recordable import problem_with_text
from flowsync.model.remote import COOL_DOWN, AlternateSource, Remote
from flowsync.model.url import holds_user

_SETTINGS: Final = (
    "ca_cert",
    "tls_validation",
    "proxy_url",
    "trust_env",
    "download_concurrency",
    "rate_limit",
    "bandwidth_limit",
    "max_retries",
    "total_timeout",
    "connect_timeout",
    "stall_timeout",
)
"""The fields of a remote that are recorded beside name, URL and policy."""

_HEADERS: Final = frozenset({"accept", "accept-encoding", "accept-language", "user-agent"})
"""The headers of remotes that are recorded, in lower case."""

_SOURCE_HEADERS: Final = _HEADERS | {
    "accept-charset",
    "accept-datetime",
    "cache-control",
    "docker-distribution-api-version",
    "pragma",
    "prefer",
    "x-requested-with",
}
"""The headers of sources that are recorded, in lower case: those that choose what is answered.
Under any other name a secret may be sent.
"""

SOURCE_DIGESTS: Final = (*DECLARABLE, "blake3")
"""The digests that a source has, in the order of its columns."""

_SENDABLE: Final = re.compile(r"[\t\x20-\x7e]*")
"""Values of headers that are recorded: visible ASCII, blanks and tabs."""

_SEPARATOR: Final = "\n"
"""What joins the URLs of a source on their way: no URL holds it."""


class RecordedSource(msgspec.Struct, frozen=True, kw_only=True):
    """Where the artifact of a unit at a path can be fetched from, by the declared `artifact`'s size
    and digests.

    `headers` are those of its requests, in addition to the remote's; of them only what can be no
    secret is recorded.
    """

    content_id: bytes
    relative_path: str
    remote_id: int
    urls: list[str]
    artifact: Artifact
    priority: int = 0
    headers: Mapping[str, str] = {}


class Alternate(msgspec.Struct, frozen=True):
    """URLs of the same bytes at a remote that belongs to an alternate source."""

    urls: list[str]
    remote_name: str


class Remotes:
    """The remotes and sources of a catalog. Any number of tasks may use it at once."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def ids(self, remotes: Iterable[Remote]) -> dict[str, int]:
        """Record the remotes, without their secrets, and return their ids by name. Of two with one
        name, the last one counts.
        """
        given = {remote.name: remote for remote in remotes}
        rows = await self._database.fetch(
            "save_remotes",
            {
                "names": list(given),
                "urls": [remote.url for remote in given.values()],
                "policies": [remote.policy for remote in given.values()],
                "settings": [_encode_settings(remote) for remote in given.values()],
            },
        )
        return {name: number for number, name in rows}

    async def load(self, names: Iterable[str]) -> dict[str, Remote]:
        """Return the recorded ones of the remotes by name, without credentials."""
        rows = await self._database.fetch("load_remotes", {"names": list(names)})
        return {row[0]: recorded_remote(*row) for row in rows}

    async def save_sources(self, sources: Sequence[RecordedSource]) -> list[int]:
        """Record the sources whose unit has a link at their path; return the ordinals (from 0) of
        the others.

        A recorded source takes over URLs, headers and priority, and a size and digests that it
        lacks; when its URLs change, its failures are forgotten. Of two with one key, the last one
        counts. Raise `DeclarationError` for a URL that holds credentials or a line break, and for
        headers that are no text.
        """
        last = {
            (source.content_id, source.relative_path, source.remote_id): source
            for source in sources
        }
        rows = await self._database.fetch("save_sources", _source_columns(list(last.values())))
        if not rows:
            return []
        keys = list(last)
        unmatched = {keys[ordinal] for (ordinal,) in rows}
        return [
            ordinal
            for ordinal, source in enumerate(sources)
            if (source.content_id, source.relative_path, source.remote_id) in unmatched
        ]

    async def links_of(self, content_ids: Iterable[bytes]) -> dict[bytes, list[str]]:
        """Return the paths of the units' links, in order."""
        paths: dict[bytes, list[str]] = {}
        rows = await self._database.fetch("links_of", {"content_ids": list(content_ids)})
        for content_id, relative_path in rows:
            paths.setdefault(content_id, []).append(relative_path)
        return paths

    async def add_alternate_source(
        self, name: str, remote_id: int, priority: int = 0, paths: Sequence[str] = ()
    ) -> None:
        """Record an alternate source, or change the one of that name. Raise `DeclarationError` as
        `check_alternate_source` does.
        """
        check_alternate_source(name, priority, paths)
        await self._database.execute(
            "save_alternate_source",
            {"name": name, "remote_id": remote_id, "priority": priority, "paths": list(paths)},
        )

    async def alternate_sources(self) -> list[AlternateSource]:
        """Return all alternate sources in the order in which they are tried."""
        rows = await self._database.fetch("list_alternate_sources")
        return [
            AlternateSource(
                name=name,
                remote_name=remote_name,
                url=url,
                priority=priority,
                paths=tuple(paths),
                last_refreshed=last_refreshed,
            )
            for name, remote_name, url, priority, paths, last_refreshed in rows
        ]

    async def alternates(
        self,
        artifacts: Sequence[Artifact],
        allowed: frozenset[str],
        *,
        cool_down: float = COOL_DOWN,
    ) -> list[list[Alternate]]:
        """Return for each artifact where alternate sources have it, by any allowed digest, in the
        order in which to try them.

        What gave wrong bytes within the last `cool_down` seconds is left alone.
        """
        found: list[list[Alternate]] = [[] for _ in artifacts]
        usable = digest_columns(artifacts, [name for name in DECLARABLE if name in allowed])
        wanted = {**{name: [] for name in DECLARABLE}, **usable, "cool_down": cool_down}
        for ordinal, remote_name, urls in await self._database.fetch("find_alternates", wanted):
            found[ordinal].append(Alternate(urls, remote_name))
        return found


def check_alternate_source(name: str, priority: int = 0, paths: Sequence[str] = ()) -> None:
    """Raise `DeclarationError` for a name, a path or a priority that cannot be recorded."""
    for text in (name, *paths):
        problem = problem_with_text(text)
        if problem is not None:
            raise DeclarationError(
                f"alternate source {name!r}: the name or a path, {text!r}, {problem}"
            )
    problem = problem_with_count(priority, -(2**31), 2**31 - 1)
    if problem is not None:
        raise DeclarationError(f"alternate source {name!r}: priority {problem}")


def _encode_settings(remote: Remote) -> str:
    settings: dict[str, Any] = {name: getattr(remote, name) for name in _SETTINGS}
    settings["headers"] = [
        (name, value) for name, value in remote.headers if name.lower() in _HEADERS
    ]
    return msgspec.json.encode(settings).decode()


def recorded_remote(name: str, url: str, policy: str, settings: str) -> Remote:
    """Return the remote of a row. Raise `CatalogError` when its settings cannot be understood."""
    fields = {"name": name, "url": url, "policy": policy, **msgspec.json.decode(settings)}
    try:
        return msgspec.convert(fields, Remote)
    except msgspec.ValidationError as error:
        raise CatalogError(f"reading remote {name!r}: {error}") from error


def _source_columns(sources: Sequence[RecordedSource]) -> dict[str, list[Any]]:
    return {
        "content_ids": [source.content_id for source in sources],
        "relative_paths": [source.relative_path for source in sources],
        "remote_ids": [source.remote_id for source in sources],
        "urls": [_join_urls(source) for source in sources],
        "headers": column(
            [_encode_headers(source) if source.headers else None for source in sources]
        ),
        "priorities": [source.priority for source in sources],
        "sizes": [source.artifact.size for source in sources],
        **digest_columns([source.artifact for source in sources], DECLARABLE),
        # Not of bytes that are here: a link whose bytes go keeps their sha256.
        "blake3": column(
            [
                _declared_blake3(source.artifact) if source.artifact.blake3 is not None else None
                for source in sources
            ]
        ),
    }


def _declared_blake3(artifact: Artifact) -> bytes | None:
    is_here = isinstance(artifact, (StagedArtifact, StoredArtifact))
    return None if is_here or artifact.blake3 is None else bytes.fromhex(artifact.blake3)


def _join_urls(source: RecordedSource) -> str:
    for url in source.urls:
        if _SEPARATOR in url or ("@" in url and holds_user(url)):
            raise DeclarationError(
                f"a source of {source.relative_path!r} has a URL with "
                f"{'a line break' if _SEPARATOR in url else 'credentials in it'}"
            )
    return _SEPARATOR.join(source.urls)


def _encode_headers(source: RecordedSource) -> str | None:
    headers: Any = source.headers
    if not headers:
        return None
    if not isinstance(headers, Mapping) or not all(
        isinstance(part, str) for pair in headers.items() for part in pair
    ):
        # The values are not shown: they may be secret.
        raise DeclarationError(f"headers of {source.relative_path!r} must be text by name")
    kept = {name: value for name, value in headers.items() if _may_be_recorded(name, value)}
    return msgspec.json.encode(kept).decode() if kept else None


def _may_be_recorded(name: str, value: str) -> bool:
    return name.lower() in _SOURCE_HEADERS and _SENDABLE.fullmatch(value) is not None


def decode_headers(headers: str | None) -> dict[str, str]:
    """Return the headers of a source as they are recorded."""
    return {} if headers is None else msgspec.json.decode(headers, type=dict[str, str])


# What belongs to an alternate source beside its record: the hidden repositories of what it lists,
# and its remote.
#
# 1. What drops something holds the locks of all hidden repositories of the source, taken in the
#    order of their ids. So no refresh is under way meanwhile, whose sources are recorded before its
#    version is complete.
# 2. Dropping is one transaction. Units and bytes stay: clean-up finds out whether anything else
#    needs them.
#
# The reasons stand in docs/decisions/0004.


class AlternateSources:
    """What is to be changed about alternate sources; any number of tasks may use it at once.

    `prefix` is how the names of a source's hidden repositories begin, and no other's.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def mark_refreshed(self, name: str) -> None:
        """Note that the whole source was read just now."""
        await self._database.execute("mark_refreshed", {"name": name})

    async def forget_unlisted(self, remote: str, prefix: str, listed: Sequence[str]) -> int:
        """Drop the hidden repositories that are not `listed`, and what `remote` has beyond the
        units of the others; return how many sources went.
        """
        async with self._held(prefix) as (connection, repositories):
            kept = [number for name, number in repositories.items() if name in listed]
            gone = [number for name, number in repositories.items() if name not in listed]
            database = self._database
            await database.run(connection, "drop_repositories", {"repositories": gone})
            parameters = {"remote": remote, "repositories": kept}
            return (await database.run(connection, "drop_unlisted_sources", parameters)).rowcount

    async def remove(self, name: str, remote: str | None, prefix: str) -> None:
        """Drop a source, its hidden repositories, and its `remote` if that is its own."""
        async with self._held(prefix) as (connection, repositories):
            database = self._database
            await database.run(connection, "drop_alternate_source", {"name": name})
            numbers = {"repositories": list(repositories.values())}
            await database.run(connection, "drop_repositories", numbers)
            if remote is not None:
                await database.run(connection, "drop_remote", {"remote": remote})

    @asynccontextmanager
    async def _held(self, prefix: str) -> AsyncIterator[tuple[Connection, dict[str, int]]]:
        """Hold the locks of the hidden repositories and give a connection in a transaction, and
        their ids by name.
        """
        database = self._database
        rows = await database.fetch("repositories_beginning", {"prefix": prefix})
        async with AsyncExitStack() as locks:
            for number, name in rows:
                await locks.enter_async_context(
                    locked_connection(database, name, number, wait=True)
                )
            async with database.dedicated() as connection, connection.transaction():
                yield connection, {name: number for number, name in rows}
