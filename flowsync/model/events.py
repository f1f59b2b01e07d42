"""Frozen facts about syncs, for observers: progress bars, JSON lines, logs, metrics.

Every event names its repository, because syncs of several repositories may be observed by one
observer. Observers are plain callables; they are called on the loop's thread and must not block.
"""

from collections.abc import Callable
from typing import TypeAlias

import msgspec

from flowsync.model.repository import SyncResult


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """A counter at one moment. `total` is `None` while unknown; `size` counts bytes; `state` is
    running, completed, failed or canceled.
    """

    code: str
    message: str
    done: int
    total: int | None
    size: int
    state: str


class SyncStarted(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A sync holds its repository and begins to work."""

    repository: str
    mirror: bool


class SyncProgressed(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """How far a sync has come, in the order in which its stages began to count. Sent a few times a
    second, and once at the end.

    A verification tells of itself in the same way; `repository` is "store" when it goes through
    all.
    """

    repository: str
    readings: tuple[Reading, ...]


class SyncEnded(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A sync ended; `result.error` says why when it failed."""

    repository: str
    result: SyncResult


Event: TypeAlias = SyncStarted | SyncProgressed | SyncEnded
"""What an observer is told."""

Observer: TypeAlias = Callable[[Event], None]
"""Is called with each event, in the loop: it returns soon."""
