"""The ids of units: what makes a stored unit the same as a declared one.

1. A stored unit never changes. So its id covers all that is declared of it: natural key, other
   fields, paths and digests. What is declared otherwise is another unit, and equal ids mean equal
   content, in one catalog as on two machines.
2. Where the natural key fixes all of this, the id is that of the key. It does so if the type has no
   other fields, the unit has one artifact, and the key has the artifact's path and its strongest
   declared digest; or if the unit has no artifact at all.
3. What counts is what was declared, not what was found: an id does not depend on whether the bytes
   are here. Only of an artifact without any digest the bytes count, if they came with the sync, or
   else the size and the first URL: nothing else says that two upstreams have the same.
"""

from collections.abc import Sequence
from typing import Any, Final, Protocol

from flowsync.model.artifact import Artifact, StagedArtifact, StoredArtifact
from flowsync.model.content import Content, Kind, encode_sorted, id_of, kind_of

_STRONGEST_FIRST: Final = ("sha256", "sha512", "sha384", "blake3", "sha224", "sha1", "md5")
"""The first of these that is declared stands for the bytes. The order must never change: ids follow
from it.
"""

_TAG: Final = b"unit"
"""Begins what is hashed for a unit. Bytes, because the name of a type, with which keys begin, is
text.
"""

_AT_HAND: Final = (StagedArtifact, StoredArtifact)


class Placed(Protocol):
    """An artifact at a path: as it was declared, as it is known by now, and where it comes from."""

    relative_path: str
    artifact: Artifact
    as_declared: Artifact
    urls: list[str]


def unit_id(key: bytes, content: Content, artifacts: Sequence[Placed]) -> bytes:
    """Return the 16-byte id of a unit, whose `key_id` is `key`, with these artifacts. Raise
    `DeclarationError` for a field that cannot be encoded.
    """
    kind = kind_of(type(content))
    if _is_fixed(kind, content, artifacts):
        return key
    fields = encode_sorted(content) if kind.beyond else None
    return id_of([_TAG, key, fields, sorted(map(_proof, artifacts), key=_path_first)])


def _is_fixed(kind: Kind, content: Content, artifacts: Sequence[Placed]) -> bool:
    """Say whether the natural key fixes all that is declared."""
    if not kind.fixing:
        return not (artifacts or kind.beyond)
    try:
        (only,) = artifacts
    except ValueError:
        return False
    path: str = content.relative_path  # type: ignore[attr-defined]  # it is in the key
    if path != only.relative_path:
        return False
    sha256 = only.as_declared.sha256
    if sha256 is not None:
        # The first of the order, and what nearly all declare.
        return "sha256" in kind.fixing and sha256 == content.sha256  # type: ignore[attr-defined]
    algorithm, digest = _declared(only.as_declared)
    return algorithm in kind.fixing and digest == getattr(content, algorithm)


def _proof(placed: Placed) -> list[Any]:
    """Return what stands for an artifact: its path, and what there is to tell its bytes by."""
    algorithm, digest = _declared(placed.as_declared)
    if digest is None:
        if not isinstance(placed.artifact, _AT_HAND):
            return [placed.relative_path, "", placed.as_declared.size, placed.urls[0]]
        algorithm, digest = _declared(placed.artifact)
    return [placed.relative_path, algorithm, digest]


def _path_first(proof: list[Any]) -> list[str]:
    return list(map(str, proof))


def _declared(artifact: Artifact) -> tuple[str, str | None]:
    for algorithm in _STRONGEST_FIRST:
        digest: str | None = getattr(artifact, algorithm)
        if digest is not None:
            return algorithm, digest
    return "", None
