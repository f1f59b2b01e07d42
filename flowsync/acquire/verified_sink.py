"""Where the body of an artifact arrives: spooled, hashed, compared with what was declared.

The digests are checked in `finish`, which the fetcher calls while it can still try again: a wrong
body is a failed try like a broken one. Bodies up to the hasher's inline limit stay in memory and
are hashed at once; larger ones go to a file. What threads bring past the loop they hash on the way
and hand on to the disk; other files are hashed by path in another process when they are whole.

With a partial the file is that one, and what another transfer left in it is where this one goes on,
if it asks the same URL. Other bytes stay until a body begins to arrive in their place. A wrong body
is thrown away at once, so that no transfer ever goes on from it.

Decisions: docs/decisions/0014.
"""

from collections.abc import Mapping
from typing import Protocol

from flowsync.acquire.sources import AcquireContext, Digester
from flowsync.digest.hashing import complete, digest_bytes, verify
from flowsync.download.transfer.spool import Spool, SpoolFile, fresh_path
from flowsync.errors import IntegrityError, SizeMismatchError
from flowsync.model.artifact import Artifact, StagedArtifact, staged_artifact
from flowsync.model.remote import Held, Sink
from flowsync.model.url import redact
from flowsync.runtime.threads import in_thread
from flowsync.store.durability import flush_ahead
from flowsync.store.staging import Partial


class ByteSink(Sink, Protocol):
    """A sink that verifies what it takes. `finish` raises `SizeMismatchError` or
    `DigestMismatchError` for a wrong body.
    """

    @property
    def staged(self) -> StagedArtifact:
        """The verified artifact, after `finish` or `finish_whole`. Raise `IntegrityError` for wrong
        bytes that `finish` let pass.
        """

    async def finish_whole(self) -> None:
        """Do with the partial, which is whole, what `finish` does with a body that came."""

    async def leave(self) -> None:
        """End without the body. What a partial has of it is for others to go on from, all else is
        removed.
        """


class VerifiedSink(Spool):
    """The sink of one body, which is to have the size and the digests that `wanted` declares;
    `expected` are those digests that may vouch for it. After `finish`, `staged` is the verified
    artifact; without it, `leave` is due.
    """

    def __init__(
        self,
        context: AcquireContext,
        url: str,
        wanted: Artifact,
        expected: Mapping[str, str],
        partial: Partial | None = None,
    ) -> None:
        super().__init__(context.staging, context.hasher.inline_limit if partial is None else 0)
        self._url = url
        self._shown = redact(url)
        self._wanted = wanted
        self._expected = expected
        self._hasher = context.hasher
        self._partial = partial
        self._validator: str | None = None
        self.staged: StagedArtifact
        if partial is not None and (validator := partial.validator_for(url)) is not None:
            self.size = partial.size
            self.held = Held(partial.size, validator)

    def begin(self, validator: str | None) -> None:
        self._validator = validator

    async def restart(self) -> None:
        await super().restart()
        if self._partial is not None and self.held is not None:
            self.held = None
            await in_thread(self._partial.empty)

    async def finish(self) -> None:
        """Compute the digests and compare them. Raise `SizeMismatchError` or
        `DigestMismatchError`.
        """
        await super().finish()
        await self._stage()

    async def finish_whole(self) -> None:
        assert self._partial is not None
        self.path, self.size = self._partial.path, self._partial.size
        await self._stage()

    async def leave(self) -> None:
        if self._partial is None:
            await self.discard()
        else:
            await self.keep()
            await in_thread(self._partial.look)

    def _new_file(self, *, poured: bool) -> SpoolFile:
        partial, url, validator = self._partial, self._url, self._validator
        if partial is not None and self.held is not None:
            return SpoolFile(partial.path, (), opening=partial.resume, size=self.held.size)
        return SpoolFile(
            fresh_path(self._folder) if partial is None else partial.path,
            complete(self._expected) if poured else (),
            opening=None if partial is None else lambda: partial.begin(url, validator),
            behind=flush_ahead,
        )

    async def _stage(self) -> None:
        try:
            digests = await self._verified()
        except IntegrityError:
            if self._partial is not None:
                await in_thread(self._partial.empty)
            raise
        if self._partial is not None:
            self.path = await in_thread(self._partial.move, self._folder)
        self.staged = staged_artifact(self.size, digests, file=self.path, body=self.body)

    async def _verified(self) -> dict[str, str]:
        if self.path is not None and not self.digests:
            return await verified_file(
                self._hasher, self.path, self.size, self._wanted, self._expected, self._shown
            )
        _check_size(self._shown, self._wanted, self.size)
        digests = self.digests or digest_bytes(self.body or b"", self._expected)
        verify(self._shown, self._expected, digests)
        return digests


async def verified_file(
    hasher: Digester,
    path: str,
    size: int,
    wanted: Artifact,
    expected: Mapping[str, str],
    shown: str,
) -> dict[str, str]:
    """Return the digests of a file of `size` bytes that came from what errors call `shown`. Raise
    `SizeMismatchError` or `DigestMismatchError` when it is not what is wanted.
    """
    _check_size(shown, wanted, size)
    _, digests = await hasher.digest(path, frozenset(expected), size=size)
    verify(shown, expected, digests)
    return digests


def _check_size(shown: str, wanted: Artifact, size: int) -> None:
    if wanted.size is not None and size != wanted.size:
        raise SizeMismatchError(shown, wanted.size, size)
