"""flowsync brings remote repositories into immutable, numbered repository versions.

This is the whole public surface. A name is loaded when it is first used (PEP 562).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flowsync.catalog.new_version import NewVersion
    from flowsync.declare import DeclarativeArtifact, DeclarativeContent
    from flowsync.download.retry import Backoff
    from flowsync.model.artifact import Artifact, StagedArtifact, StoredArtifact
    from flowsync.model.content import Content
    from flowsync.model.digest import DigestPolicy
    from flowsync.model.errors import (
        CatalogConflictError,
        CatalogError,
        CatalogUnavailableError,
        ConnectionLostError,
        DeclarationError,
        DigestMismatchError,
        DuplicateContentError,
        ExportError,
        FlowsyncError,
        IntegrityError,
        ItemDroppedError,
        MassRemovalError,
        PipelineError,
        PipelineStalledError,
        PlanOutdatedError,
        RepositoryBusyError,
        RepositoryNotFoundError,
        RepositoryVersionError,
        SizeMismatchError,
        StageEndedEarlyError,
        StoreError,
        TooManyLeftOutError,
        UnboundStageError,
        UnsupportedDigestError,
        VersionKeptError,
        VersionNotFoundError,
    )
    from flowsync.model.events import (
        Event,
        Observer,
        Reading,
        SyncEnded,
        SyncProgressed,
        SyncStarted,
    )
    from flowsync.model.plan import SyncPlan
    from flowsync.model.relative_path import problem_with_path
    from flowsync.model.remote import Downloader, Policy, Remote
    from flowsync.model.repository import (
        Change,
        ErrorPolicy,
        LeftOut,
        Repository,
        RepositoryVersion,
        SyncResult,
        VersionEntry,
    )
    from flowsync.model.transfer import Fetched, Validators
    from flowsync.model.transfer_errors import (
        AllSourcesFailedError,
        MetadataError,
        StatusError,
        TransferError,
    )
    from flowsync.model.upkeep import Finding, PruneReport, ReclaimReport, VerifyReport
    from flowsync.model.url import redact
    from flowsync.pipeline.collector import collect_rarely
    from flowsync.pipeline.pipeline import Pipeline, create_pipeline
    from flowsync.pipeline.stage import EndStage, Stage
    from flowsync.pipeline.tasks import task_group
    from flowsync.stages.acs_artifact_handler import ACSArtifactHandler
    from flowsync.stages.artifact_downloader import ArtifactDownloader
    from flowsync.stages.artifact_saver import ArtifactSaver
    from flowsync.stages.content_association import ContentAssociation, UnseenContent
    from flowsync.stages.content_saver import ContentSaver
    from flowsync.stages.content_unassociation import ContentUnassociation
    from flowsync.stages.context import RunContext
    from flowsync.stages.generic_downloader import GenericDownloader
    from flowsync.stages.leave_out import LeaveOut
    from flowsync.stages.query_existing_artifacts import QueryExistingArtifacts
    from flowsync.stages.query_existing_contents import QueryExistingContents
    from flowsync.stages.remote_artifact_saver import RemoteArtifactSaver
    from flowsync.stages.resolve_content_futures import ResolveContentFutures
    from flowsync.stages.upstream import UpstreamUnchanged
    from flowsync.sync.declarative_version import DeclarativeVersion
    from flowsync.sync.engine import Engine
    from flowsync.sync.export import export_version
    from flowsync.sync.source import MetadataFile, SourceKind
    from flowsync.sync.upkeep.prune import prune
    from flowsync.sync.upkeep.reclaim import reclaim
    from flowsync.sync.upkeep.verify import verify

_HOMES = {
    "NewVersion": "flowsync.catalog.new_version",
    "DeclarativeArtifact": "flowsync.declare",
    "DeclarativeContent": "flowsync.declare",
    "Backoff": "flowsync.download.retry",
    "Artifact": "flowsync.model.artifact",
    "StagedArtifact": "flowsync.model.artifact",
    "StoredArtifact": "flowsync.model.artifact",
    "Content": "flowsync.model.content",
    "DigestPolicy": "flowsync.model.digest",
    "CatalogError": "flowsync.model.errors",
    "CatalogConflictError": "flowsync.model.errors",
    "CatalogUnavailableError": "flowsync.model.errors",
    "ConnectionLostError": "flowsync.model.errors",
    "DeclarationError": "flowsync.model.errors",
    "DigestMismatchError": "flowsync.model.errors",
    "DuplicateContentError": "flowsync.model.errors",
    "ExportError": "flowsync.model.errors",
    "FlowsyncError": "flowsync.model.errors",
    "IntegrityError": "flowsync.model.errors",
    "ItemDroppedError": "flowsync.model.errors",
    "MassRemovalError": "flowsync.model.errors",
    "PipelineError": "flowsync.model.errors",
    "PipelineStalledError": "flowsync.model.errors",
    "PlanOutdatedError": "flowsync.model.errors",
    "RepositoryBusyError": "flowsync.model.errors",
    "RepositoryNotFoundError": "flowsync.model.errors",
    "RepositoryVersionError": "flowsync.model.errors",
    "SizeMismatchError": "flowsync.model.errors",
    "StageEndedEarlyError": "flowsync.model.errors",
    "StoreError": "flowsync.model.errors",
    "TooManyLeftOutError": "flowsync.model.errors",
    "UnboundStageError": "flowsync.model.errors",
    "UnsupportedDigestError": "flowsync.model.errors",
    "VersionKeptError": "flowsync.model.errors",
    "VersionNotFoundError": "flowsync.model.errors",
    "Event": "flowsync.model.events",
    "Observer": "flowsync.model.events",
    "Reading": "flowsync.model.events",
    "SyncEnded": "flowsync.model.events",
    "SyncProgressed": "flowsync.model.events",
    "SyncStarted": "flowsync.model.events",
    "SyncPlan": "flowsync.model.plan",
    "problem_with_path": "flowsync.model.relative_path",
    "Downloader": "flowsync.model.remote",
    "Policy": "flowsync.model.remote",
    "Remote": "flowsync.model.remote",
    "Change": "flowsync.model.repository",
    "ErrorPolicy": "flowsync.model.repository",
    "LeftOut": "flowsync.model.repository",
    "Repository": "flowsync.model.repository",
    "RepositoryVersion": "flowsync.model.repository",
    "SyncResult": "flowsync.model.repository",
    "VersionEntry": "flowsync.model.repository",
    "Fetched": "flowsync.model.transfer",
    "Validators": "flowsync.model.transfer",
    "AllSourcesFailedError": "flowsync.model.transfer_errors",
    "MetadataError": "flowsync.model.transfer_errors",
    "StatusError": "flowsync.model.transfer_errors",
    "TransferError": "flowsync.model.transfer_errors",
    "Finding": "flowsync.model.upkeep",
    "PruneReport": "flowsync.model.upkeep",
    "ReclaimReport": "flowsync.model.upkeep",
    "VerifyReport": "flowsync.model.upkeep",
    "redact": "flowsync.model.url",
    "collect_rarely": "flowsync.pipeline.collector",
    "Pipeline": "flowsync.pipeline.pipeline",
    "create_pipeline": "flowsync.pipeline.pipeline",
    "EndStage": "flowsync.pipeline.stage",
    "Stage": "flowsync.pipeline.stage",
    "task_group": "flowsync.pipeline.tasks",
    "ACSArtifactHandler": "flowsync.stages.acs_artifact_handler",
    "ArtifactDownloader": "flowsync.stages.artifact_downloader",
    "ArtifactSaver": "flowsync.stages.artifact_saver",
    "ContentAssociation": "flowsync.stages.content_association",
    "UnseenContent": "flowsync.stages.content_association",
    "ContentSaver": "flowsync.stages.content_saver",
    "ContentUnassociation": "flowsync.stages.content_unassociation",
    "RunContext": "flowsync.stages.context",
    "GenericDownloader": "flowsync.stages.generic_downloader",
    "LeaveOut": "flowsync.stages.leave_out",
    "QueryExistingArtifacts": "flowsync.stages.query_existing_artifacts",
    "QueryExistingContents": "flowsync.stages.query_existing_contents",
    "RemoteArtifactSaver": "flowsync.stages.remote_artifact_saver",
    "ResolveContentFutures": "flowsync.stages.resolve_content_futures",
    "UpstreamUnchanged": "flowsync.stages.upstream",
    "DeclarativeVersion": "flowsync.sync.declarative_version",
    "Engine": "flowsync.sync.engine",
    "export_version": "flowsync.sync.export",
    "MetadataFile": "flowsync.sync.source",
    "SourceKind": "flowsync.sync.source",
    "prune": "flowsync.sync.upkeep.prune",
    "reclaim": "flowsync.sync.upkeep.reclaim",
    "verify": "flowsync.sync.upkeep.verify",
}

__all__ = [
    "ACSArtifactHandler",
    "AllSourcesFailedError",
    "Artifact",
    "ArtifactDownloader",
    "ArtifactSaver",
    "Backoff",
    "CatalogConflictError",
    "CatalogError",
    "CatalogUnavailableError",
    "Change",
    "ConnectionLostError",
    "Content",
    "ContentAssociation",
    "ContentSaver",
    "ContentUnassociation",
    "DeclarationError",
    "DeclarativeArtifact",
    "DeclarativeContent",
    "DeclarativeVersion",
    "DigestMismatchError",
    "DigestPolicy",
    "Downloader",
    "DuplicateContentError",
    "EndStage",
    "Engine",
    "ErrorPolicy",
    "Event",
    "ExportError",
    "Fetched",
    "Finding",
    "FlowsyncError",
    "GenericDownloader",
    "IntegrityError",
    "ItemDroppedError",
    "LeaveOut",
    "LeftOut",
    "MassRemovalError",
    "MetadataError",
    "MetadataFile",
    "NewVersion",
    "Observer",
    "Pipeline",
    "PipelineError",
    "PipelineStalledError",
    "PlanOutdatedError",
    "Policy",
    "PruneReport",
    "QueryExistingArtifacts",
    "QueryExistingContents",
    "Reading",
    "ReclaimReport",
    "Remote",
    "RemoteArtifactSaver",
    "Repository",
    "RepositoryBusyError",
    "RepositoryNotFoundError",
    "RepositoryVersion",
    "RepositoryVersionError",
    "ResolveContentFutures",
    "RunContext",
    "SizeMismatchError",
    "SourceKind",
    "Stage",
    "StageEndedEarlyError",
    "StagedArtifact",
    "StatusError",
    "StoreError",
    "StoredArtifact",
    "SyncEnded",
    "SyncPlan",
    "SyncProgressed",
    "SyncResult",
    "SyncStarted",
    "TooManyLeftOutError",
    "TransferError",
    "UnboundStageError",
    "UnseenContent",
    "UnsupportedDigestError",
    "UpstreamUnchanged",
    "Validators",
    "VerifyReport",
    "VersionEntry",
    "VersionKeptError",
    "VersionNotFoundError",
    "collect_rarely",
    "create_pipeline",
    "export_version",
    "problem_with_path",
    "prune",
    "reclaim",
    "redact",
    "task_group",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'flowsync' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return [*globals(), *_HOMES]
