"""Bodies, and the staged artifacts that stand for them, for tests of blob stores."""

import os
from pathlib import Path

import blake3

from flowsync.model.artifact import StagedArtifact
from flowsync.store import BlobStore

HELLO = b"hello"
HELLO_NAME = "ea8f163db38682925e4491c5e58d4bb3506ef8c14eb78a86e908c5624a67200f"
EMPTY_NAME = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
NOWHERE_NAME = "0" * 64


def name_of(body: bytes) -> str:
    """Return the name of the blob with these bytes."""
    return blake3.blake3(body).hexdigest()


def in_memory(body: bytes) -> StagedArtifact:
    """Return a staged artifact whose bytes are in memory."""
    return StagedArtifact(body=body, size=len(body), blake3=name_of(body))


def as_file(folder: str, body: bytes) -> StagedArtifact:
    """Return a staged artifact whose bytes are a file in the folder."""
    path = Path(folder) / os.urandom(8).hex()
    path.write_bytes(body)
    return StagedArtifact(file=str(path), size=len(body), blake3=name_of(body))


async def read(store: BlobStore, name: str, start: int = 0, stop: int | None = None) -> bytes:
    """Return bytes of a blob, which may be of any size."""
    async with store.reading(name, start, stop) as reader:
        return b"".join([chunk async for chunk in reader.chunks])
