"""Declarations: what a first stage says should exist, and what the stages learn about it on the
way.

Decisions: docs/decisions/0005.
"""

from collections.abc import Awaitable, Callable, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from flowsync.errors import DeclarationError
from flowsync.model.artifact import Artifact, StagedArtifact, StoredArtifact
from flowsync.model.content import Content, key_id, unit_id
from flowsync.model.recordable import problem_with_path, shown_path
from flowsync.model.remote import Remote
from flowsync.pipeline.budget import Lease
from flowsync.pipeline.resolution import Resolvable


class Source:
    """URLs of one remote that offer an artifact."""

    __slots__ = ("remote", "urls")

    def __init__(self, remote: Remote | None, urls: Sequence[str]) -> None:
        self.remote = remote
        self.urls = list(urls)


class DeclarativeArtifact:
    """An artifact, where to get it, and the path at which it belongs to its content.

    `artifact` may be incomplete until the body was downloaded; the stages replace it as they learn
    more. `url` and `urls` exclude each other; what the sync itself made, with a file and without a
    remote, needs neither. What was declared stays known as `as_declared`: the
    unit's id depends on it, and not on what is found out later. With `deferred_download` the
    artifact is recorded but not downloaded. `alternates` are further sources, tried first, each
    with its own remote.

    Raises `DeclarationError` (a `ValueError`) when `artifact`, `url` or `relative_path` is missing,
    when both `url` and `urls` are given, when `relative_path` breaks the rules of
    `flowsync/model/recordable.py`, and when `remote` is missing although the artifact has no
    file and is not stored.
    """

    __slots__ = (
        "_artifact",
        "alternates",
        "as_declared",
        "checked_path",
        "deferred_download",
        "extra_data",
        "relative_path",
        "remote",
        "urls",
    )

    def __init__(
        self,
        artifact: Artifact | None = None,
        url: str | None = None,
        urls: Sequence[str] | None = None,
        relative_path: str | None = None,
        remote: Remote | None = None,
        extra_data: dict[str, Any] | None = None,
        deferred_download: bool = False,
    ) -> None:
        if not (url or urls):
            # What a sync made itself comes from nowhere.
            if remote is not None or artifact is None or artifact.file is None:
                raise DeclarationError("DeclarativeArtifact needs a url, or urls")
            urls = [f"made:{quote(relative_path or '')}"]
        if url and urls:
            raise DeclarationError("DeclarativeArtifact takes either url or urls, not both")
        if not relative_path:
            raise DeclarationError("DeclarativeArtifact needs a relative_path")
        problem = problem_with_path(relative_path)
        if problem is not None:
            raise DeclarationError(
                "DeclarativeArtifact cannot have the relative_path "
                f"{shown_path(relative_path)}: it {problem}"
            )
        if artifact is None:
            raise DeclarationError("DeclarativeArtifact needs an artifact")
        if remote is None and artifact.file is None and not isinstance(artifact, StoredArtifact):
            raise DeclarationError(
                "DeclarativeArtifact needs a remote, unless its artifact has a file or is stored"
            )
        self._artifact = self.as_declared = artifact
        self.urls: list[str] = [url] if url else list(urls or ())
        self.relative_path = self.checked_path = relative_path
        self.remote = remote
        self.extra_data: dict[str, Any] = extra_data or {}
        self.deferred_download = deferred_download
        self.alternates: list[Source] = []

    @property
    def artifact(self) -> Artifact:
        """What is known of the artifact by now."""
        return self._artifact

    @artifact.setter
    def artifact(self, artifact: Artifact) -> None:
        if not isinstance(artifact, (StagedArtifact, StoredArtifact)):
            self.as_declared = artifact
        self._artifact = artifact

    if not TYPE_CHECKING:
        # It is read ten times a unit, so its reader is no function of Python's.
        artifact = artifact.getter(attrgetter("_artifact"))

    @property
    def url(self) -> str:
        """The first of `urls`."""
        return self.urls[0]

    @property
    def wants_download(self) -> bool:
        """Whether the bytes have to come during the sync: not recorded, not at hand, not
        deferred.
        """
        artifact = self._artifact
        return not (
            self.deferred_download
            or artifact.file is not None
            or isinstance(artifact, (StoredArtifact, StagedArtifact))
        )

    def __repr__(self) -> str:
        return f"DeclarativeArtifact({self.relative_path!r}, urls={self.urls!r})"


class DeclarativeContent(Resolvable):
    """A content unit and the artifacts that belong to it; the item of a sync's pipeline.

    `saved` says that the catalog holds it. Awaiting `resolution()` gives the content as it is when
    the item reaches `ResolveContentFutures`, or whenever a stage calls `resolve()`. `line` is where
    upstream's metadata lists the unit, from 1, for those who ask later why a version has it. One
    that `stays` is recorded also in a sync that leaves out what it cannot have: what lists it is
    served as it is, so its bytes are to come later. `lease` is its share of the transfer budget
    while bytes of its artifacts are in flight; `failure` is why they could not be had, in a sync
    that may go on without. `bring` makes files of the unit's stored bytes for those who await it,
    where the store has no local files.

    Raises `DeclarationError` (a `ValueError`) when `content` is missing.
    """

    __slots__ = (
        "_content_id",
        "_key_id",
        "bring",
        "content",
        "d_artifacts",
        "extra_data",
        "failure",
        "known_links",
        "lease",
        "line",
        "saved",
        "stays",
    )

    def __init__(
        self,
        content: Content | None = None,
        d_artifacts: Sequence[DeclarativeArtifact] | None = None,
        extra_data: dict[str, Any] | None = None,
        *,
        line: int | None = None,
        stays: bool = False,
    ) -> None:
        super().__init__()
        if content is None:
            raise DeclarationError("DeclarativeContent needs a content")
        self.content: Content = content
        self.d_artifacts: list[DeclarativeArtifact] = list(d_artifacts or ())
        self.extra_data: dict[str, Any] = extra_data or {}
        self.line = line
        self.stays = stays
        self.saved = False
        self.known_links: dict[str, int | None] = {}
        self.lease: Lease | None = None
        self.failure: Exception | None = None
        self.bring: Callable[[DeclarativeContent], Awaitable[None]] | None = None
        self._content_id: bytes | None = None
        self._key_id: bytes | None = None

    @property
    def content_id(self) -> bytes:
        """The 16-byte id of the unit as it is declared now, or as it was when its id was fixed: a
        stored counterpart has the same.
        """
        return self._content_id or unit_id(self.key_id, self.content, self.d_artifacts)

    @property
    def key_id(self) -> bytes:
        """The 16-byte id of the unit's natural key."""
        return self._key_id or key_id(self.content)

    def fix_id(self) -> bytes:
        """Compute the ids and keep them: the unit is about to be looked up or saved. Return the
        unit's.
        """
        self._key_id = key_id(self.content)
        self._content_id = unit_id(self._key_id, self.content, self.d_artifacts)
        return self._content_id

    def outcome(self) -> Content:
        """Return the content as it stands."""
        return self.content

    async def resolution(self) -> Any:
        """Wait until the unit is stored, or dropped by a stage that said so, and return its
        content. Its stored artifacts can be opened then.

        Raise `ItemDroppedError` when the pipeline ends without either, the failure of its download
        when the sync went on without the unit, and `StoreError` when stored bytes cannot be
        brought.
        """
        if self.failure is not None:
            raise self.failure
        content = await super().resolution()
        if self.bring is not None:
            await self.bring(self)
        return content

    def __repr__(self) -> str:
        return f"DeclarativeContent({self.content!r})"
