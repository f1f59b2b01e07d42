"""What runs in a hash worker: one batch of paths after the other.

Like `flowsync.digest.hashing`, this module is imported by every worker and stays light: requests
and replies are pickled. Errors of single files travel back as values and become flowsync errors in
the parent, so that one unreadable file costs no other its digest.
"""

import pickle
from collections.abc import Callable, Sequence
from typing import TypeAlias

from flowsync.digest.hashing import digest_file

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
