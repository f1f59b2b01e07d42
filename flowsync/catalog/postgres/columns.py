"""Batches as columns: what `unnest` makes rows of.

A column of nothing but NULL is sent empty, because `unnest` fills short columns up: most upstreams
declare one digest of six, and the driver and the server handle every element of what is sent.
"""

from collections.abc import Iterable, Sequence
from typing import TypeVar

from flowsync.model.artifact import Artifact

V = TypeVar("V")


def column(values: Iterable[V | None]) -> list[V | None]:
    """Return the values; none when all are `None`. At least one column of a batch must be whole."""
    found = list(values)
    return [] if found.count(None) == len(found) else found


def digest_columns(
    artifacts: Sequence[Artifact], algorithms: Iterable[str]
) -> dict[str, list[bytes | None]]:
    """Return the digests of a batch as bytes, a column an algorithm."""
    columns = {}
    for algorithm in algorithms:
        values = column(getattr(artifact, algorithm) for artifact in artifacts)
        columns[algorithm] = [None if value is None else bytes.fromhex(value) for value in values]
    return columns
