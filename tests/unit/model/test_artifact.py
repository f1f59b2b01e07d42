from pathlib import Path
from typing import Any

import pytest

from flowsync.errors import DeclarationError
from flowsync.model.artifact import Artifact, StagedArtifact, StoredArtifact, staged_artifact

SHA256, SHA512, BLAKE3, MD5 = "a" * 64, "b" * 128, "c" * 64, "d" * 32


def test_artifact_may_be_incomplete() -> None:
    artifact = Artifact()

    assert artifact.size is None
    assert artifact.digests() == {}


def test_empty_body_has_a_size_like_any_other() -> None:
    """A size of 0 counted as unknown."""
    assert Artifact(size=0).size == 0


def test_digests_come_in_the_order_in_which_an_artifact_is_looked_up() -> None:
    artifact = Artifact(md5=MD5, blake3=BLAKE3, sha512=SHA512, sha256=SHA256)

    assert list(artifact.digests().items()) == [
        ("sha256", SHA256),
        ("sha512", SHA512),
        ("md5", MD5),
        ("blake3", BLAKE3),
    ]


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"size": -1}, "size of an artifact cannot be negative, found -1"),
        ({"sha256": "abc"}, "sha256 must be 64 lower-case hexadecimal digits, found 'abc'"),
        ({"md5": ""}, "md5 must be 32 lower-case hexadecimal digits, found ''"),
    ],
)
def test_contradicting_artifact_is_refused(fields: dict[str, Any], found: str) -> None:
    with pytest.raises(DeclarationError, match=found):
        Artifact(**fields)


def test_artifact_with_a_file_opens_it(tmp_path: Path) -> None:
    path = tmp_path / "body"
    path.write_bytes(b"bytes")

    with Artifact(file=str(path)).open() as body:
        assert body.read() == b"bytes"


@pytest.mark.parametrize("artifact", [Artifact(sha256=SHA256), StoredArtifact(id=1)])
def test_artifact_without_bytes_at_hand_says_so(artifact: Artifact) -> None:
    with pytest.raises(DeclarationError, match="no bytes at hand"):
        artifact.open()


def test_staged_artifact_has_what_was_computed() -> None:
    staged = staged_artifact(5, {"sha256": SHA256, "blake3": BLAKE3, "md5": MD5}, body=b"bytes")

    assert staged == StagedArtifact(
        size=5, sha256=SHA256, blake3=BLAKE3, md5=MD5, body=b"bytes", file=None
    )


@pytest.mark.parametrize("body", [b"bytes", b""])
def test_staged_artifact_opens_its_body(body: bytes) -> None:
    staged = staged_artifact(len(body), {"sha256": SHA256, "blake3": BLAKE3}, body=body)

    with staged.open() as opened:
        assert opened.read() == body


def test_staged_artifact_opens_its_file(tmp_path: Path) -> None:
    path = tmp_path / "body"
    path.write_bytes(b"bytes")
    staged = staged_artifact(5, {"sha256": SHA256, "blake3": BLAKE3}, file=str(path))

    with staged.open() as opened:
        assert opened.read() == b"bytes"


def test_the_state_of_an_artifact_is_its_type() -> None:
    declared = Artifact(sha256=SHA256)
    stored = StoredArtifact(id=7, sha256=SHA256)

    assert isinstance(stored, Artifact)
    assert not isinstance(declared, StoredArtifact)
    assert stored.digests() == declared.digests()


def test_artifact_cannot_be_changed() -> None:
    artifact = Artifact(size=1)

    with pytest.raises(AttributeError, match="immutable type: 'Artifact'"):
        artifact.size = 2  # type: ignore[misc]
