"""Decides what becomes of content whose bytes cannot be had, or cannot be believed, where a sync
need not fail for it.
"""

from typing import TYPE_CHECKING

from flowsync.declare import DeclarativeArtifact, DeclarativeContent
from flowsync.errors import TooManyLeftOutError, UnsupportedDigestError
from flowsync.model.content import repo_key_id
from flowsync.model.recordable import error_text
from flowsync.model.repository import LeftOut, LeftOutAction
from flowsync.model.url import redact
from flowsync.stages.context import BoundStage

if TYPE_CHECKING:
    from flowsync.catalog.versions.new_version import NewVersion


class LeaveOut(BoundStage):
    """Takes failed content out of the stream (`on_error="skip"`), or lets it go on without its
    bytes (`"defer"`, and what `stays`), and records it either way.

    What the repository has of a skipped unit's natural or repository key stays in it, also in a
    mirror: upstream still has that, and only its newest bytes could not be had. What awaits a
    skipped unit gets its failure. Order is kept.

    What could not be verified later either is skipped, not deferred: an artifact with forbidden
    digests only, or one that has no source.

    Raises `TooManyLeftOutError` when more than the sync's `max_errors` were left out.
    """

    hands_on = True

    def __init__(self, new_version: "NewVersion") -> None:
        self.new_version = new_version

    async def run(self) -> None:
        """Sort out the failed items of each batch."""
        async for batch in self.batches(1):
            failed = [item for item in batch if item.failure is not None]
            if not failed:
                await self.put_all(batch)
            else:
                await self._leave_out(failed)
                await self.put_all([item for item in batch if item.failure is None])

    async def _leave_out(self, failed: list[DeclarativeContent]) -> None:
        defers = self.context.on_error == "defer"
        self._defer([item for item in failed if (defers or item.stays) and can_come_later(item)])
        skipped = [item for item in failed if item.failure is not None]
        if skipped:
            await self._skip(skipped)

    def _defer(self, failed: list[DeclarativeContent]) -> None:
        for item in failed:
            self._record(item, "deferred")
            for declared in item.d_artifacts:
                declared.deferred_download = declared.deferred_download or declared.wants_download
            item.failure = None

    async def _skip(self, failed: list[DeclarativeContent]) -> None:
        await self.new_version.keep(
            [item.key_id for item in failed],
            [repo_key_id(item.content) for item in failed],
        )
        for item in failed:
            self._record(item, "skipped")
            if item.lease is not None:
                item.lease.release()
            assert item.failure is not None
            # Its traceback would keep the item, and with it the bytes that did arrive.
            item.fail(item.failure.with_traceback(None))

    def _record(self, item: DeclarativeContent, action: LeftOutAction) -> None:
        left_out = self.context.left_out
        # Of what is deferred or local anyway, it is not known here which one failed.
        wanted = [declared for declared in item.d_artifacts if declared.wants_download]
        wanted = wanted or item.d_artifacts
        left_out.extend(_left_out(declared, item.failure, action) for declared in wanted)
        limit = self.context.max_errors
        if limit is not None and len(left_out) > limit:
            last = left_out[-1]
            raise TooManyLeftOutError(
                f"more than {limit} artifacts could not be had; the last one was "
                f"{last.relative_path}: {last.reason}"
            ) from item.failure


def can_come_later(item: DeclarativeContent) -> bool:
    """Say whether what could not be had of a failed unit can be fetched, and verified, some other
    time.
    """
    return not isinstance(item.failure, UnsupportedDigestError) and all(
        declared.remote is not None for declared in item.d_artifacts
    )


def _left_out(
    declared: DeclarativeArtifact, failure: Exception | None, action: LeftOutAction
) -> LeftOut:
    return LeftOut(
        relative_path=declared.relative_path,
        url=redact(declared.url),
        reason="" if failure is None else error_text(failure),
        action=action,
    )
