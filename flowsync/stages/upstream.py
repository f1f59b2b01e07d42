"""What a run remembers of upstream, so that the next one can be skipped when nothing changed.

A first stage asks `recall` what the last sync saw; it gets an answer only when a sync of the same
stages with today's options would come to the same result. If upstream is proven to be still like
that, by an entity tag or by the digest of what was read, the stage raises `UpstreamUnchanged`; a
date proves nothing. Otherwise it calls `remember`, and what it gave is kept when the sync has
succeeded.

Upstreams of many parts, such as projects, are remembered item by item (`recall_items`,
`remember_items`), so that the next sync asks for those that changed and keeps the others.
"""

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec

from flowsync.errors import DeclarationError
from flowsync.model.content import UNENCODABLE
from flowsync.model.recordable import problem_with_json, problem_with_text
from flowsync.model.remote import Policy, Remote

_encode_options: Final = msgspec.json.Encoder(order="deterministic").encode


class UpstreamUnchanged(Exception):  # noqa: N818 - it is no error
    """Raised by a first stage to end a sync that would change nothing. Not an error: the sync ends
    well, without a version.
    """


class SyncTerms(msgspec.Struct, frozen=True, kw_only=True):
    """The options that decide, besides upstream itself, what a sync comes to. `version` is the
    repository's latest number.

    `stages` names the classes of the caller's stages, which may change or drop content; `options`
    are those that the first stage names. `kind_options` is a digest of the options of its kind,
    which may hold what must not be recorded.
    """

    url: str
    remote: str
    policy: Policy
    mirror: bool
    version: int
    stages: tuple[str, ...] = ()
    options: dict[str, Any] = {}
    kind_options: str = ""

    def covers(self, now: "SyncTerms") -> bool:
        """Say whether a sync under `self` did all that one under `now` would do to an unchanged
        upstream.
        """
        same = self._same() == now._same()
        fetched_enough = self.policy == "immediate" or now.policy != "immediate"
        removed_enough = self.mirror or not now.mirror
        return same and fetched_enough and removed_enough

    def _same(self) -> tuple[Any, ...]:
        return (
            self.url,
            self.remote,
            self.version,
            self.stages,
            self.options,
            self.kind_options,
        )


def options_digest(options: Sequence[Any]) -> str:
    """Return what tells the options of stages from others, `None` being none: a digest of their
    fields. Raise `DeclarationError` when a field has no form as JSON.
    """
    if all(each is None for each in options):
        return ""
    try:
        # With the names of the types: two kinds may have options of one form.
        named = [[type(each).__qualname__, each] for each in options if each is not None]
        return hashlib.sha256(_encode_options(named)).hexdigest()
    except UNENCODABLE as error:
        raise DeclarationError(f"options of a stage cannot be written as JSON: {error}") from error


class UpstreamRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a successful sync: its terms, and whatever its first stage wants to see
    again. `items` is the generation of items that it left.
    """

    terms: SyncTerms
    seen: dict[str, Any]
    items: int = 0


class Items(Protocol):
    """Where items of upstream are remembered, by generations."""

    async def recall(self, generation: int, names: Sequence[str] | None) -> dict[str, Any]:
        """Return what counts of the named items, or of all, up to a generation."""

    async def discard(self, generation: int) -> None:
        """Remove what does not count in a generation."""

    async def remember(self, generation: int, items: Mapping[str, Any]) -> None:
        """Write what was seen of items; `None` forgets one."""


class UpstreamMemory:
    """The record of the last successful sync and the one in the making. Made for one run."""

    def __init__(
        self,
        record: UpstreamRecord | None,
        *,
        mirror: bool,
        version: int,
        count_missing: Callable[[], Awaitable[int]],
        stages: Sequence[str] = (),
        kind_options: str = "",
        items: Items | None = None,
        is_plan: bool = False,
    ) -> None:
        self._record = record
        self._mirror = mirror
        self._version = version
        self._count_missing = count_missing
        self._stages = tuple(stages)
        self._kind_options = kind_options
        self._items = items
        self._is_plan = is_plan
        self._recalled = False
        self._generation: int | None = None
        self._remembered: tuple[Remote, dict[str, Any], Mapping[str, Any]] | None = None

    async def recall(
        self, remote: Remote, *, options: Mapping[str, Any] | None = None
    ) -> dict[str, Any] | None:
        """Return what the last sync's first stage remembered, or `None` when a sync of `remote` now
        might come to something else.

        `options` are those of the stage that decide what it declares; `remember` takes the same
        ones.
        """
        terms = self._terms(remote, self._version, options or {})
        if self._record is None or not self._record.terms.covers(terms):
            return None
        if remote.policy == "immediate" and await self._count_missing():
            return None
        self._recalled = True
        return self._record.seen

    def last_seen(self, remote: Remote) -> dict[str, Any]:
        """Return what the last sync from this URL remembered, whatever its options were. It proves
        nothing of a sync now; it tells an upstream that goes back. Nothing, if the sync is forced.
        """
        if self._record is None or self._record.terms.url != remote.url:
            return {}
        return self._record.seen

    async def recall_items(self, names: Sequence[str] | None = None) -> dict[str, Any]:
        """Return what the last sync remembered of the named items, or of all. Nothing, unless
        `recall` gave an answer before: what proves an item unchanged proves it under the terms of
        that sync only.
        """
        if not self._recalled or self._record is None or self._items is None:
            return {}
        return await self._items.recall(self._record.items, names)

    async def remember_items(self, items: Mapping[str, Any]) -> None:
        """Keep what was seen of some items for the next sync if this one succeeds and calls
        `remember`; `None` forgets one. What is remembered of others stays, if `recall` gave an
        answer. To be called as often as there are items in batches.

        Raise `DeclarationError` when what was seen is not JSON.
        """
        for name, seen in items.items():
            problem = problem_with_text(name) or problem_with_json(seen)
            if problem is not None:
                raise DeclarationError(
                    f"what is to be remembered of the upstream item {name!r} {problem}"
                )
        if self._items is None or self._is_plan or not items:
            return
        if self._generation is None:
            base = self._base_generation()
            await self._items.discard(base)
            self._generation = base + 1
        await self._items.remember(self._generation, items)

    def _base_generation(self) -> int:
        return self._record.items if self._recalled and self._record is not None else 0

    def remember(
        self, remote: Remote, seen: dict[str, Any], *, options: Mapping[str, Any] | None = None
    ) -> None:
        """Keep `seen` for the next sync if this one succeeds. `seen` and `options` must be JSON;
        raise `DeclarationError` when they are not.
        """
        for given in (seen, options or {}):
            problem = problem_with_json(given)
            if problem is not None:
                raise DeclarationError(f"what is to be remembered of upstream {problem}")
        self._remembered = (remote, seen, options or {})

    def record(self, version: int) -> UpstreamRecord | None:
        """Return what is to be kept after a sync that left the repository at `version`; `None` when
        the first stage remembered nothing.
        """
        if self._remembered is None:
            return None
        remote, seen, options = self._remembered
        return UpstreamRecord(
            terms=self._terms(remote, version, options),
            seen=seen,
            items=self._base_generation() if self._generation is None else self._generation,
        )

    def _terms(self, remote: Remote, version: int, options: Mapping[str, Any]) -> SyncTerms:
        return SyncTerms(
            url=remote.url,
            remote=remote.name,
            policy=remote.policy,
            mirror=self._mirror,
            version=version,
            stages=self._stages,
            # As they are when they come back.
            options=msgspec.json.decode(msgspec.json.encode(options)),
            kind_options=self._kind_options,
        )
