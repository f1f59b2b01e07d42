"""What runs in a hash worker: one batch of paths after the other.

Like `flowsync.digest.hashing`, this module is imported by every worker and stays light. Errors of
single files travel back as values and become flowsync errors in the parent, so that one unreadable
file costs no other its digest.
"""

from collections.abc import Sequence
from typing import TypeAlias

from flowsync.digest.hashing import digest_file

Request: TypeAlias = tuple[str, frozenset[str]]
"""The path of a file and the algorithms asked for."""

Answer: TypeAlias = tuple[int, dict[str, str]] | OSError | ValueError
"""Size in bytes and hexadecimal digests, or why the file could not be read."""


def digest_batch(requests: Sequence[Request]) -> list[Answer]:
    """Hash files and return one answer a request, in order."""
    return [_answer(path, algorithms) for path, algorithms in requests]


def _answer(path: str, algorithms: frozenset[str]) -> Answer:
    try:
        return digest_file(path, algorithms)
    except (OSError, ValueError) as error:
        return error
