"""The artifacts that are recorded: looked up by digest, saved in batches.

1. One statement answers a whole batch. `touched_at` says when an artifact was last needed, to the
   hour; clean-up leaves alone what was needed lately. A row that was not needed lately is found
   only once it is held: clean-up may be about to remove it, and then it is not found.
2. Artifacts of a batch are inserted in the order of sha256, and rows held in the order of their
   ids, after all inserting: syncs that save or find the same ones wait for each other but never
   deadlock.
3. A digest that a stored artifact lacks is added when the same bytes come with it again, so that
   they are found by it the next time.

Decisions: docs/decisions/0004.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

from msgspec.structs import replace

from flowsync.catalog.postgres.database import Database
from flowsync.catalog.postgres.statements import digest_columns
from flowsync.errors import CatalogError
from flowsync.model.artifact import HEX_LENGTHS, Artifact, StagedArtifact, StoredArtifact

_ALGORITHMS: Final = tuple(HEX_LENGTHS)
"""The digests in the order of the statements' columns."""

_OPTIONAL: Final = tuple(name for name in _ALGORITHMS if name not in {"sha256", "blake3"})
"""The digests that a stored artifact may lack."""

_TRIES: Final = 3
"""Rounds of saving a batch. The second finds what others inserted during the first; the third, what
was cleaned away in between.
"""


class Artifacts:
    """The artifacts of a catalog. Any number of tasks may use it at once.

    `locate` gives the path of the blob with a BLAKE3 name (hexadecimal), where blobs are files.
    """

    def __init__(self, database: Database, locate: Callable[[str], str | None]) -> None:
        self._database = database
        self._locate = locate

    async def find(
        self, artifacts: Sequence[Artifact], allowed: frozenset[str]
    ) -> list[StoredArtifact | None]:
        """Return for each artifact its stored counterpart, or `None` when there is none or no
        allowed digest to look for.
        """
        keys = [_key(artifact, allowed) for artifact in artifacts]
        wanted: dict[str, list[bytes]] = {algorithm: [] for algorithm in _ALGORITHMS}
        for key in set(keys):
            if key is not None:
                wanted[key[0]].append(bytes.fromhex(key[1]))
        if not any(wanted.values()):
            return [None] * len(artifacts)
        used = [algorithm for algorithm in _ALGORITHMS if wanted[algorithm]]
        found = {
            (algorithm, getattr(stored, algorithm)): stored
            for stored in map(self._stored, await self._database.fetch("find_artifacts", wanted))
            for algorithm in used
        }
        return [None if key is None else found.get(key) for key in keys]

    async def save(self, artifacts: Sequence[StagedArtifact]) -> list[StoredArtifact]:
        """Record the artifacts, whose blobs are durable, and return them as they are stored, in the
        order given.

        An artifact that is recorded already, or comes twice, is the same stored one.
        """
        pending = {str(artifact.sha256): artifact for artifact in artifacts}
        stored: dict[str, StoredArtifact] = {}
        for _ in range(_TRIES):
            rows = await self._database.fetch("save_artifacts", _columns(list(pending.values())))
            for artifact in map(self._stored, rows):
                stored[str(artifact.sha256)] = artifact
                del pending[str(artifact.sha256)]
            if not pending:
                await self._complete(artifacts, stored)
                return [stored[str(artifact.sha256)] for artifact in artifacts]
        sha256 = next(iter(pending))
        raise CatalogError(
            f"saving the artifact with sha256 {sha256}: its blake3 {pending[sha256].blake3} "
            "is recorded with another sha256"
        )

    async def _complete(
        self, artifacts: Sequence[StagedArtifact], stored: dict[str, StoredArtifact]
    ) -> None:
        """Record the digests that the stored artifacts lack, and put them into `stored`."""
        richer: dict[str, StoredArtifact] = {}
        for artifact in artifacts:
            sha256 = str(artifact.sha256)
            known = stored[sha256]
            lacking = {
                algorithm: getattr(artifact, algorithm)
                for algorithm in _OPTIONAL
                if getattr(artifact, algorithm) is not None and getattr(known, algorithm) is None
            }
            if lacking:
                richer[sha256] = stored[sha256] = replace(known, **lacking)
        if richer:
            await self._database.execute("complete_artifacts", _columns(list(richer.values())))

    def _stored(self, row: tuple[Any, ...]) -> StoredArtifact:
        number, size, sha256, sha512, sha384, sha224, sha1, md5, blake3 = row
        name = blake3.hex()
        return StoredArtifact(
            id=number,
            size=size,
            sha256=sha256.hex(),
            sha512=sha512 and sha512.hex(),
            sha384=sha384 and sha384.hex(),
            sha224=sha224 and sha224.hex(),
            sha1=sha1 and sha1.hex(),
            md5=md5 and md5.hex(),
            blake3=name,
            file=self._locate(name),
        )


def _key(artifact: Artifact, allowed: frozenset[str]) -> tuple[str, str] | None:
    for algorithm in _ALGORITHMS:
        value = getattr(artifact, algorithm)
        if value is not None and algorithm in allowed:
            return algorithm, value
    return None


def _columns(artifacts: Sequence[Artifact]) -> dict[str, list[Any]]:
    """Return the statements' parameters: one list a column."""
    sizes = [artifact.size for artifact in artifacts]
    return {"size": sizes, **digest_columns(artifacts, _ALGORITHMS)}
