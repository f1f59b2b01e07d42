"""Units and artifacts that the tests of the catalog save."""

import hashlib
from typing import ClassVar

from blake3 import blake3

from flowsync.model.artifact import StagedArtifact
from flowsync.model.content import Content, key_id


class Leaf(Content):
    """A unit that its key determines."""

    type_name: ClassVar[str] = "test.leaf"
    natural_key: ClassVar[tuple[str, ...]] = ("name",)
    name: str


class Package(Content):
    """A unit with fields beyond its key, and a repository key."""

    type_name: ClassVar[str] = "test.package"
    natural_key: ClassVar[tuple[str, ...]] = ("name", "version")
    repo_key: ClassVar[tuple[str, ...]] = ("name",)
    name: str
    version: str
    summary: str = ""
    requires: tuple[str, ...] = ()


def by_id(*units: Content) -> dict[bytes, Content]:
    return {key_id(unit): unit for unit in units}


def digest(algorithm: str, body: bytes) -> str:
    return hashlib.new(algorithm, body).hexdigest()


def staged(body: bytes, *algorithms: str) -> StagedArtifact:
    """Return an artifact as it comes out of the downloader: with sha256, blake3 and the digests of
    `algorithms`.
    """
    return StagedArtifact(
        size=len(body),
        body=body,
        sha256=digest("sha256", body),
        blake3=blake3(body).hexdigest(),
        **{algorithm: digest(algorithm, body) for algorithm in algorithms},
    )
