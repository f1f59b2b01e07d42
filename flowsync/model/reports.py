"""Runs as they are recorded: what a sync was asked to do, how far it came, how it ended.

Also here: what a sync would do, why a path is in a version, and what clean-up reports.
"""

from datetime import datetime
from typing import Any, Literal, TypeAlias

import msgspec

from flowsync.model.events import Reading
from flowsync.model.remote import Policy
from flowsync.model.repository import ErrorPolicy, LeftOut, RunState


class RunSource(msgspec.Struct, frozen=True, kw_only=True):
    """A remote that a run was made from. `url` is redacted."""

    remote: str
    url: str
    policy: Policy


class RunTerms(msgspec.Struct, frozen=True, kw_only=True):
    """The options of a run, and its remotes. `planned` is the root that it was to come to, of a run
    that carried a plan out.
    """

    mirror: bool = False
    force: bool = False
    on_error: ErrorPolicy = "fail"
    sources: tuple[RunSource, ...] = ()
    planned: str | None = None


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """The record of one run. `actor` is user, machine and process; `seen` is when the progress was
    written last.

    `state` is "lost" when the process is gone without having said how the run ended; `version` is
    the number of the version that it made, which may have been deleted since; `left_out` counts
    what it could not have.
    """

    number: int
    repository: str
    state: RunState
    actor: str
    terms: RunTerms
    started: datetime
    seen: datetime
    ended: datetime | None
    version: int | None
    progress: tuple[Reading, ...]
    result: dict[str, Any] | None
    error: str | None
    left_out: int


# What a sync would do: the answer to "what if", and the promise that a planned sync keeps or breaks
# off.


class SyncPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What a sync of `repository` would do now, without having done any of it.

    It starts from version `base`, whose content has `base_root`, and comes to content with `root`;
    the same root means that nothing changes. Counts are units, of which `added_bare` and
    `removed_bare` have no artifacts; `downloads` are artifacts, each once, however many units share
    it. Sizes are bytes; `downloads_unsized` artifacts, of which upstream does not say how large
    they are, count as 0. `unchanged` says that upstream is found unchanged by its metadata alone,
    so that the sync would be skipped; `refusal` is the error that would stop the sync, as far as
    that can be foretold.
    Where artifacts without a digest are to be downloaded, the sync comes to another root than
    planned: which units they make, only their bytes tell.
    """

    repository: str
    base: int
    base_root: str
    root: str
    added: int = 0
    added_bytes: int = 0
    added_bare: int = 0
    removed: int = 0
    removed_bytes: int = 0
    removed_bare: int = 0
    present: int
    downloads: int = 0
    download_bytes: int = 0
    downloads_unsized: int = 0
    unchanged: bool = False
    refusal: str | None = None
    terms: RunTerms

    @property
    def changes(self) -> bool:
        """Whether the sync would make a version."""
        return self.root != self.base_root


# Why a path is in a version, or is not: which version, run, source or failure decided it.


class SourceNote(msgspec.Struct, frozen=True, kw_only=True):
    """Where bytes can be fetched from. `url` is redacted; the policy is the one that the remote has
    now.
    """

    remote: str
    url: str
    policy: Policy


class Presence(msgspec.Struct, frozen=True, kw_only=True):
    """A unit that has the path. `added` is the version that added it, made by `run` if it was a
    sync that recorded itself.

    The run read metadata from the remotes whose redacted URLs are `read`, and found the unit in
    that `line`, if it said so. A unit without artifacts, which was asked for by its id instead of a
    path, has `fields` and nothing that is known of bytes.
    """

    type: str
    added: int
    run: int | None
    line: int | None
    read: tuple[str, ...]
    sha256: str | None
    blake3: str | None
    size: int | None
    stored: bool
    origins: tuple[SourceNote, ...]
    fields: dict[str, Any] | None = None


class Removal(msgspec.Struct, frozen=True, kw_only=True):
    """The version that removed the path last, made by `run`, which read metadata from the remotes
    `read`, or by rolling back to a version.
    """

    version: int
    run: int | None
    read: tuple[str, ...]
    rolled_back_to: int | None


class LeftOutNote(msgspec.Struct, frozen=True, kw_only=True):
    """The last run that left the path out, and how many runs of the repository there were
    after it.
    """

    run: int
    runs_since: int
    left_out: LeftOut


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """All that is recorded about a path of `version`. No `present` unit, `removal` or `failure`: no
    sync ever got to hear of it. `rule` says in words which option of today's settings keeps it out.
    """

    repository: str
    version: int
    path: str
    present: tuple[Presence, ...]
    removal: Removal | None
    failure: LeftOutNote | None
    rule: str | None = None


# What clean-up, verification and reclaiming report. Sizes are bytes.

LISTED = 1000
"""Findings that a report lists at most; with more, the counts say what there is to say."""

Kind: TypeAlias = Literal["missing", "damaged", "unreadable"]


class PruneReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a clean-up removed or, when it was not `applied`, would remove.

    `contents` are units in no version, `links` and `sources` what belonged to them; `kept` counts
    orphan units that stay because something of a content type's own refers to them. `artifacts` had
    no link any more; `blobs` are files of the store that no artifact has; `staging` are folders
    that dead processes left. `refused` counts blobs that should have gone and could not be removed.
    """

    applied: bool
    contents: int = 0
    links: int = 0
    sources: int = 0
    kept: int = 0
    artifacts: int = 0
    artifact_bytes: int = 0
    blobs: int = 0
    blob_bytes: int = 0
    staging: int = 0
    staging_bytes: int = 0
    refused: int = 0
    seconds: float = 0.0


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """A stored artifact whose bytes were not as recorded. `repository` and `relative_path` are one
    place where it stands, if it stands anywhere.

    `kind` is "missing", "damaged" (its bytes were read, and are others) or "unreadable" (it could
    not be looked at, so nothing is known of its bytes); `problem` is what was found. `repaired`
    says that the bytes are right again; otherwise `reason` says why not, where that was tried.
    """

    blake3: str
    sha256: str
    size: int
    repository: str | None
    relative_path: str | None
    kind: Kind
    problem: str
    repaired: bool = False
    reason: str | None = None


class VerifyReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a verification found. `repository` is `None` when it went through all; `quick` compared
    sizes only.

    `missing` counts artifacts whose blob was not there, `damaged` those whose blob had other bytes,
    `unreadable` those whose blob could not be looked at, `repaired` those of all three that are
    right again. `findings` lists the first thousand.
    """

    repository: str | None
    quick: bool
    checked: int = 0
    bytes: int = 0
    missing: int = 0
    damaged: int = 0
    unreadable: int = 0
    repaired: int = 0
    findings: tuple[Finding, ...] = ()
    seconds: float = 0.0

    @property
    def remaining(self) -> int:
        """How many artifacts have not, or may not have, the bytes that are recorded."""
        return self.missing + self.damaged + self.unreadable - self.repaired


class RemovalReport(msgspec.Struct, frozen=True, kw_only=True):
    """What went with a repository or, when it was not `applied`, would go.

    `versions` are those that were made, `protected` those of them that keep the repository from
    being removed; `units` counts each unit once.
    """

    repository: str
    applied: bool = False
    versions: int = 0
    protected: int = 0
    units: int = 0
    runs: int = 0


class ReclaimReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a reclaiming released or, when it was not `applied`, would release: `artifacts` with
    their `bytes`.

    `shared` counts artifacts that stay because something else needs them, `busy` those that a
    running sync may be using, `refused` those of which a path has no source to fetch it from again;
    `refused_paths` lists the first thousand of these.
    """

    repository: str
    versions: tuple[int, ...]
    applied: bool
    artifacts: int = 0
    bytes: int = 0
    shared: int = 0
    busy: int = 0
    refused: int = 0
    refused_paths: tuple[str, ...] = ()
    seconds: float = 0.0
