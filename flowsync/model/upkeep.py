"""What clean-up, verification and reclaiming report. Sizes are bytes."""

from typing import Literal, TypeAlias

import msgspec

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
