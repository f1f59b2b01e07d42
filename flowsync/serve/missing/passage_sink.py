"""The way of one source's body into a passage, where readers follow it while it comes.

What another transfer left in the partial is shown to readers only when upstream goes on from it: a
client is told at once of an upstream that has nothing.

Decided: a body that came whole and is wrong is no failed try here, unlike in a sync. The clients
that wait are better served by the next source. One that went on from bytes of before is fetched
anew: those may be to blame.
"""

import asyncio
from collections.abc import Mapping

from flowsync.acquire.sources import AcquireContext, verified_file
from flowsync.errors import IntegrityError, StoreError
from flowsync.model.artifact import Artifact, StagedArtifact, staged_artifact
from flowsync.model.remote import Held
from flowsync.model.url import redact
from flowsync.runtime.tasks import finished, in_thread
from flowsync.serve.missing.passage import Passage
from flowsync.store.staging import Partial


class PassageSink:
    """A `ByteSink` that brings its body into `passage`, and vouches for it there."""

    def __init__(
        self,
        passage: Passage,
        context: AcquireContext,
        url: str,
        wanted: Artifact,
        expected: Mapping[str, str],
        partial: Partial | None,
    ) -> None:
        self._passage = passage
        self._context = context
        self._url = url
        self._wanted = wanted
        self._expected = expected
        self._partial = partial
        self._validator: str | None = None
        self._begun = False
        self._outcome: StagedArtifact | IntegrityError
        self.held = self._left_by_others()

    @property
    def staged(self) -> StagedArtifact:
        if isinstance(self._outcome, IntegrityError):
            raise self._outcome
        return self._outcome

    def begin(self, validator: str | None) -> None:
        self._validator = validator

    async def write(self, chunk: bytes) -> None:
        self._begin()
        await self._passage.write(chunk)

    def direct(self, size: int) -> None:
        """Take nothing past `write`: readers follow what comes."""

    async def restart(self) -> None:
        await self._passage.restart()
        await in_thread(self._throw_away)
        self._begun, self.held = False, None

    async def finish(self) -> None:
        self._begin()
        passage = self._passage
        await passage.finish()
        try:
            digests = await self._digests(passage.file.path, passage.received)
        except IntegrityError as wrong:
            if self.held is not None:
                raise
            await in_thread(self._throw_away)
            self._outcome = wrong
            return
        await in_thread(passage.file.take, self._context.staging)
        self._outcome = staged_artifact(passage.received, digests, file=passage.file.path)
        passage.vouch(passage.received)

    async def finish_whole(self) -> None:
        partial = self._partial
        assert partial is not None
        size = partial.size
        try:
            digests = await self._digests(partial.path, size)
        except IntegrityError:
            await in_thread(partial.empty)
            raise
        path = await in_thread(partial.move, self._context.staging)
        if not await self._passage.take_file(path, size, own=True):
            raise StoreError(f"cannot read {path}, which was whole a moment ago")
        self._outcome = staged_artifact(size, digests, file=path)

    async def leave(self) -> None:
        """End without the body. What a partial has of it is for others to go on from, also when
        this is cancelled: no thread writes there any more then.
        """
        await finished(asyncio.ensure_future(self._passage.settle()))
        if self._partial is not None:
            await in_thread(self._partial.look)

    def _left_by_others(self) -> Held | None:
        partial = self._partial
        if partial is None or not self._passage.file.goes_on_from(partial):
            return None
        validator = partial.validator_for(self._url)
        return None if validator is None else Held(partial.size, validator)

    def _begin(self) -> None:
        if self._begun:
            return
        self._begun = True
        if self._partial is not None and self.held is not None:
            self._passage.resume(self._partial)
        else:
            self._passage.begin(self._partial, self._url, self._validator)

    def _throw_away(self) -> None:
        self._passage.file.detach()
        if self._partial is not None and self.held is not None:
            self._partial.empty()

    async def _digests(self, path: str, size: int) -> dict[str, str]:
        return await verified_file(
            self._context.hasher, path, size, self._wanted, self._expected, redact(self._url)
        )
