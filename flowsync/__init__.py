"""flowsync brings remote repositories into immutable, numbered repository versions.

This is the whole public surface. A name is loaded when it is first used (PEP 562), so that importing the package costs a few milliseconds and
loads neither the HTTP client nor the database driver.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flowsync.catalog.new_version import (
        NewVersion as NewVersion,
    )
    from flowsync.declare import (
        DeclarativeArtifact as DeclarativeArtifact,
        DeclarativeContent as DeclarativeContent,
    )
    from flowsync.model.artifact import (
        Artifact as Artifact,
        StagedArtifact as StagedArtifact,
        StoredArtifact as StoredArtifact,
    )
    from flowsync.model.content import (
        Content as Content,
    )
    from flowsync.model.digest import (
        DigestPolicy as DigestPolicy,
    )
    from flowsync.model.errors import (
        AllSourcesFailedError as AllSourcesFailedError,
        CatalogError as CatalogError,
        CatalogUnavailableError as CatalogUnavailableError,
        DeclarationError as DeclarationError,
        DigestMismatchError as DigestMismatchError,
        DuplicateContentError as DuplicateContentError,
        ExportError as ExportError,
        FlowsyncError as FlowsyncError,
        IntegrityError as IntegrityError,
        ItemDroppedError as ItemDroppedError,
        MetadataError as MetadataError,
        PipelineError as PipelineError,
        PipelineStalledError as PipelineStalledError,
        RepositoryBusyError as RepositoryBusyError,
        RepositoryNotFoundError as RepositoryNotFoundError,
        RepositoryVersionError as RepositoryVersionError,
        SizeMismatchError as SizeMismatchError,
        StageEndedEarlyError as StageEndedEarlyError,
        StoreError as StoreError,
        TransferError as TransferError,
        UnboundStageError as UnboundStageError,
        UnsupportedDigestError as UnsupportedDigestError,
        VersionNotFoundError as VersionNotFoundError,
    )
    from flowsync.model.events import (
        Event as Event,
        Observer as Observer,
        Reading as Reading,
        SyncEnded as SyncEnded,
        SyncProgressed as SyncProgressed,
        SyncStarted as SyncStarted,
    )
    from flowsync.model.remote import (
        Downloader as Downloader,
        Policy as Policy,
        Remote as Remote,
    )
    from flowsync.model.repository import (
        Repository as Repository,
        RepositoryVersion as RepositoryVersion,
        SyncResult as SyncResult,
        VersionEntry as VersionEntry,
    )
    from flowsync.model.transfer import (
        Fetched as Fetched,
        Validators as Validators,
    )
    from flowsync.pipeline.pipeline import (
        Pipeline as Pipeline,
        create_pipeline as create_pipeline,
    )
    from flowsync.pipeline.stage import (
        EndStage as EndStage,
        Stage as Stage,
    )
    from flowsync.pipeline.tasks import (
        task_group as task_group,
    )
    from flowsync.stages.acs_artifact_handler import (
        ACSArtifactHandler as ACSArtifactHandler,
    )
    from flowsync.stages.artifact_downloader import (
        ArtifactDownloader as ArtifactDownloader,
    )
    from flowsync.stages.artifact_saver import (
        ArtifactSaver as ArtifactSaver,
    )
    from flowsync.stages.content_association import (
        ContentAssociation as ContentAssociation,
        UnseenContent as UnseenContent,
    )
    from flowsync.stages.content_saver import (
        ContentSaver as ContentSaver,
    )
    from flowsync.stages.content_unassociation import (
        ContentUnassociation as ContentUnassociation,
    )
    from flowsync.stages.context import (
        RunContext as RunContext,
    )
    from flowsync.stages.generic_downloader import (
        GenericDownloader as GenericDownloader,
    )
    from flowsync.stages.query_existing_artifacts import (
        QueryExistingArtifacts as QueryExistingArtifacts,
    )
    from flowsync.stages.query_existing_contents import (
        QueryExistingContents as QueryExistingContents,
    )
    from flowsync.stages.remote_artifact_saver import (
        RemoteArtifactSaver as RemoteArtifactSaver,
    )
    from flowsync.stages.resolve_content_futures import (
        ResolveContentFutures as ResolveContentFutures,
    )
    from flowsync.stages.upstream import (
        UpstreamUnchanged as UpstreamUnchanged,
    )
    from flowsync.sync.declarative_version import (
        DeclarativeVersion as DeclarativeVersion,
    )
    from flowsync.sync.engine import (
        Engine as Engine,
    )

_HOMES = {
    "NewVersion": "flowsync.catalog.new_version",
    "DeclarativeArtifact": "flowsync.declare",
    "DeclarativeContent": "flowsync.declare",
    "Artifact": "flowsync.model.artifact",
    "StagedArtifact": "flowsync.model.artifact",
    "StoredArtifact": "flowsync.model.artifact",
    "Content": "flowsync.model.content",
    "DigestPolicy": "flowsync.model.digest",
    "AllSourcesFailedError": "flowsync.model.errors",
    "CatalogError": "flowsync.model.errors",
    "CatalogUnavailableError": "flowsync.model.errors",
    "DeclarationError": "flowsync.model.errors",
    "DigestMismatchError": "flowsync.model.errors",
    "DuplicateContentError": "flowsync.model.errors",
    "ExportError": "flowsync.model.errors",
    "FlowsyncError": "flowsync.model.errors",
    "IntegrityError": "flowsync.model.errors",
    "ItemDroppedError": "flowsync.model.errors",
    "MetadataError": "flowsync.model.errors",
    "PipelineError": "flowsync.model.errors",
    "PipelineStalledError": "flowsync.model.errors",
    "RepositoryBusyError": "flowsync.model.errors",
    "RepositoryNotFoundError": "flowsync.model.errors",
    "RepositoryVersionError": "flowsync.model.errors",
    "SizeMismatchError": "flowsync.model.errors",
    "StageEndedEarlyError": "flowsync.model.errors",
    "StoreError": "flowsync.model.errors",
    "TransferError": "flowsync.model.errors",
    "UnboundStageError": "flowsync.model.errors",
    "UnsupportedDigestError": "flowsync.model.errors",
    "VersionNotFoundError": "flowsync.model.errors",
    "Event": "flowsync.model.events",
    "Observer": "flowsync.model.events",
    "Reading": "flowsync.model.events",
    "SyncEnded": "flowsync.model.events",
    "SyncProgressed": "flowsync.model.events",
    "SyncStarted": "flowsync.model.events",
    "Downloader": "flowsync.model.remote",
    "Policy": "flowsync.model.remote",
    "Remote": "flowsync.model.remote",
    "Repository": "flowsync.model.repository",
    "RepositoryVersion": "flowsync.model.repository",
    "SyncResult": "flowsync.model.repository",
    "VersionEntry": "flowsync.model.repository",
    "Fetched": "flowsync.model.transfer",
    "Validators": "flowsync.model.transfer",
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
    "QueryExistingArtifacts": "flowsync.stages.query_existing_artifacts",
    "QueryExistingContents": "flowsync.stages.query_existing_contents",
    "RemoteArtifactSaver": "flowsync.stages.remote_artifact_saver",
    "ResolveContentFutures": "flowsync.stages.resolve_content_futures",
    "UpstreamUnchanged": "flowsync.stages.upstream",
    "DeclarativeVersion": "flowsync.sync.declarative_version",
    "Engine": "flowsync.sync.engine",
    "SourceKind": "flowsync.sync.source",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'flowsync' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return [*globals(), *_HOMES]
