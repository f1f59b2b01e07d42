"""How a sync is to be done, and the records of that."""

from collections.abc import Sequence

import msgspec

from flowsync.model.plan import SyncPlan
from flowsync.model.remote import Remote
from flowsync.model.repository import ErrorPolicy
from flowsync.model.run_record import RunSource, RunTerms
from flowsync.model.url import redact


class SyncOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a sync is to be done; the fields are those of `DeclarativeVersion`."""

    mirror: bool
    wait: bool
    force: bool
    on_error: ErrorPolicy
    max_errors: int | None
    max_removal: float
    maxsize: int
    stall_timeout: float | None
    timeout: float | None = None
    plan: SyncPlan | None = None

    def terms(self, remotes: Sequence[Remote]) -> RunTerms:
        """Return what is recorded of a run with these options that is made from `remotes`."""
        return RunTerms(
            mirror=self.mirror,
            force=self.force,
            on_error=self.on_error,
            sources=tuple(
                RunSource(remote=remote.name, url=redact(remote.url), policy=remote.policy)
                for remote in remotes
            ),
            planned=None if self.plan is None else self.plan.root,
        )
