"""Bodies that came from workers which share no files with this machine.

The worker compared them with what was declared; here they are compared with what the worker found,
because of the way that they came. What is not the same is as good as not fetched.
"""

import os
from collections.abc import Sequence

import msgspec
from blake3 import blake3

from flowsync.digest.pool import INLINE_LIMIT
from flowsync.download.transfer.spool import fresh_path
from flowsync.errors import StoreError
from flowsync.model.artifact import StagedArtifact


def keep_received(artifacts: Sequence[StagedArtifact], folder: str) -> list[StagedArtifact | None]:
    """Return the artifacts, with large bodies as files in the run's staging folder; `None` for one
    whose bytes are not those that the worker verified. Waits for the disk. Raise `StoreError`.
    """
    return [_kept(artifact, folder) for artifact in artifacts]


def write_private(path: str, body: bytes) -> None:
    """Make a body the new file `path`, which nobody else may read. Raise `StoreError`."""
    try:
        with open(path, "xb", buffering=0, opener=_open_private) as file:
            rest = memoryview(body)
            while rest:
                rest = rest[file.write(rest) :]
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror}") from error


def _kept(artifact: StagedArtifact, folder: str) -> StagedArtifact | None:
    body = artifact.body
    if body is None or len(body) != artifact.size or blake3(body).hexdigest() != artifact.blake3:
        return None
    if len(body) <= INLINE_LIMIT:
        return artifact
    path = fresh_path(folder)
    write_private(path, body)
    return msgspec.structs.replace(artifact, body=None, file=path)


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
