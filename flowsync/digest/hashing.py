"""Digests of bodies and files, and their comparison with what upstream promised.

1. sha256 and BLAKE3 are always computed: the first because every artifact has it, the second
   because it names the blob.
2. A body is read once, whatever the number of algorithms. Pieces of 256 KiB stay in a core's cache
   between two algorithms, and are large enough that hashlib and blake3 release the interpreter
   lock.
3. Every worker process imports this module when it starts, so it imports hash functions and errors
   and nothing else; no event loop, no msgspec. This is why the algorithms' names stand here again
   beside their constructors; a test holds them against `HEX_LENGTHS`.

Decisions: docs/decisions/0008.

Also here: what runs in a hash worker.
"""

import hashlib
import os
import pickle
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Final, Protocol, TypeAlias

from blake3 import blake3

from flowsync.errors import DeclarationError, DigestMismatchError, MissingDigestError

BUFFER_SIZE: Final = 256 * 1024
"""Bytes read and hashed at a time."""


class _Hash(Protocol):
    def update(self, data: memoryview, /) -> object: ...

    def hexdigest(self) -> str: ...


# In look-up order. MD5 and SHA-1 only compare with what upstream says; declared so, they also work
# where a system-wide policy forbids them for signatures.
_CONSTRUCTORS: Final[dict[str, Callable[..., _Hash]]] = {
    "sha256": hashlib.sha256,
    "sha512": hashlib.sha512,
    "sha384": hashlib.sha384,
    "sha224": hashlib.sha224,
    "sha1": partial(hashlib.sha1, usedforsecurity=False),
    "md5": partial(hashlib.md5, usedforsecurity=False),
    "blake3": blake3,
}

_ALWAYS: Final = frozenset({"sha256", "blake3"})


def digest_bytes(body: bytes, algorithms: Collection[str]) -> dict[str, str]:
    """Return the hexadecimal digests of a body: those asked for, sha256 and BLAKE3. Raise
    `DeclarationError` for an unknown algorithm.
    """
    return {name: _CONSTRUCTORS[name](body).hexdigest() for name in complete(algorithms)}


def digest_file(path: str, algorithms: Collection[str]) -> tuple[int, dict[str, str]]:
    """Return a file's size in bytes and its digests as `digest_bytes` does, in one pass. Raise
    `OSError` when it cannot be read.
    """
    hashes = {name: _CONSTRUCTORS[name]() for name in complete(algorithms)}
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = _feed(descriptor, hashes.values())
    finally:
        os.close(descriptor)
    return size, {name: running.hexdigest() for name, running in hashes.items()}


class RunningDigest:
    """sha256 and BLAKE3 of a body that comes piece by piece. Used by one thread at a time."""

    def __init__(self) -> None:
        self.size = 0
        self._hashes = {name: _CONSTRUCTORS[name]() for name in sorted(_ALWAYS)}

    def update(self, piece: bytes) -> None:
        """Take the next bytes."""
        for running in self._hashes.values():
            running.update(memoryview(piece))
        self.size += len(piece)

    def digests(self) -> dict[str, str]:
        """Return the digests of what came, in hexadecimal."""
        return {name: running.hexdigest() for name, running in self._hashes.items()}


def complete(algorithms: Collection[str]) -> frozenset[str]:
    """Return what is computed when `algorithms` are asked for. Raise `DeclarationError` for an
    unknown one.
    """
    wanted = _ALWAYS.union(algorithms)
    unknown = wanted - _CONSTRUCTORS.keys()
    if unknown:
        raise DeclarationError(f"unknown digest algorithms: {', '.join(sorted(unknown))}")
    return wanted


def verify(source: str, expected: Mapping[str, str], found: Mapping[str, str]) -> None:
    """Raise `DigestMismatchError` for the first digest, in look-up order, that differs from the
    expected one.

    Expected digests that were not computed vouch for nothing. When that is true of all of them the
    body is unverified, and `MissingDigestError` is raised.
    """
    comparable = [name for name in _CONSTRUCTORS if name in expected and name in found]
    for name in comparable:
        if found[name] != expected[name]:
            raise DigestMismatchError(source, name, expected[name], found[name])
    if expected and not comparable:
        raise MissingDigestError(
            f"{source}: promised by {', '.join(sorted(expected))}, "
            f"computed only {', '.join(sorted(found)) or 'nothing'}"
        )


def _feed(descriptor: int, hashes: Iterable[_Hash]) -> int:
    buffer = bytearray(BUFFER_SIZE)
    view = memoryview(buffer)
    size = 0
    while count := os.readv(descriptor, (buffer,)):
        piece = view[:count]
        for running in hashes:
            running.update(piece)
        size += count
    return size


# What runs in a hash worker: one batch of paths after the other.
#
# Like `flowsync.digest.hashing`, this module is imported by every worker and stays light: requests
# and replies are pickled. Errors of single files travel back as values and become flowsync errors
# in the parent, so that one unreadable file costs no other its digest.

Request: TypeAlias = tuple[str, frozenset[str]]
"""The path of a file and the algorithms asked for."""

Answer: TypeAlias = tuple[int, dict[str, str]] | OSError | ValueError
"""Size in bytes and hexadecimal digests, or why the file could not be read."""


def pack_batch(requests: Sequence[Request]) -> bytes:
    """Return a batch as it goes to a worker."""
    return pickle.dumps(list(requests))


def unpack_answers(reply: bytes) -> list[Answer]:
    """Return what `digest_batch` answers."""
    answers: list[Answer] = pickle.loads(reply)  # noqa: S301 -- from a process that we started
    return answers


def digest_batch(batch: bytes, _: Callable[[], bool]) -> bytes:
    """Hash the files of a packed batch and return one answer a request, in order."""
    requests: list[Request] = pickle.loads(batch)  # noqa: S301 -- from our parent
    return pickle.dumps([_answer(path, algorithms) for path, algorithms in requests])


def _answer(path: str, algorithms: frozenset[str]) -> Answer:
    try:
        return digest_file(path, algorithms)
    except (OSError, ValueError) as error:
        return error
