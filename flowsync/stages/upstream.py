"""What a run remembers of upstream, so that the next one can be skipped when nothing changed.

A first stage asks `recall` what the last sync saw; it gets an answer only when a sync with today's options would come to the same result
(behaviour study, facts 93 to 98). If upstream is still like that, the stage raises `UpstreamUnchanged`; otherwise it calls `remember`, and
what it gave is kept when the sync has succeeded.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from flowsync.model.remote import Policy, Remote


class UpstreamUnchanged(Exception):  # noqa: N818 - it is no error
    """Raised by a first stage to end a sync that would change nothing. Not an error: the sync ends well, without a version."""


class SyncTerms(msgspec.Struct, frozen=True, kw_only=True):
    """The options that decide, besides upstream itself, what a sync comes to. `version` is the repository's latest number."""

    url: str
    remote: str
    policy: Policy
    mirror: bool
    version: int

    def covers(self, now: "SyncTerms") -> bool:
        """Say whether a sync under `self` did all that one under `now` would do to an unchanged upstream."""
        same = (self.url, self.remote, self.version) == (now.url, now.remote, now.version)
        fetched_enough = self.policy == "immediate" or now.policy != "immediate"
        removed_enough = self.mirror or not now.mirror
        return same and fetched_enough and removed_enough


class UpstreamRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a successful sync: its terms, and whatever its first stage wants to see again."""

    terms: SyncTerms
    seen: dict[str, Any]


class UpstreamMemory:
    """The record of the last successful sync and the one in the making. Made for one run."""

    def __init__(
        self,
        record: UpstreamRecord | None,
        *,
        mirror: bool,
        version: int,
        count_missing: Callable[[], Awaitable[int]],
    ) -> None:
        self._record = record
        self._mirror = mirror
        self._version = version
        self._count_missing = count_missing
        self._remembered: tuple[Remote, dict[str, Any]] | None = None

    async def recall(self, remote: Remote) -> dict[str, Any] | None:
        """Return what the last sync's first stage remembered, or `None` when a sync of `remote` now might come to something else."""
        if self._record is None or not self._record.terms.covers(
            self._terms(remote, self._version)
        ):
            return None
        if remote.policy == "immediate" and await self._count_missing():
            return None
        return self._record.seen

    def remember(self, remote: Remote, seen: dict[str, Any]) -> None:
        """Keep `seen`, which must be JSON, for the next sync if this one succeeds."""
        self._remembered = (remote, seen)

    def record(self, version: int) -> UpstreamRecord | None:
        """Return what is to be kept after a sync that left the repository at `version`; `None` when the first stage remembered nothing."""
        if self._remembered is None:
            return None
        remote, seen = self._remembered
        return UpstreamRecord(terms=self._terms(remote, version), seen=seen)

    def _terms(self, remote: Remote, version: int) -> SyncTerms:
        return SyncTerms(
            url=remote.url,
            remote=remote.name,
            policy=remote.policy,
            mirror=self._mirror,
            version=version,
        )
