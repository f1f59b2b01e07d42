"""flowsync brings remote repositories into immutable, numbered repository versions.

This is the whole public surface; `__init__.pyi` says the same to type checkers. A name is loaded
when it is first used (PEP 562), so that importing the package costs a few milliseconds and loads
neither the HTTP client nor the database driver.
"""

from importlib import import_module
from typing import Any

_NAMES = {
    "flowsync.catalog.new_version": "NewVersion",
    "flowsync.declare": "DeclarativeArtifact DeclarativeContent",
    "flowsync.download.retry": "Backoff",
    "flowsync.model.artifact": "Artifact StagedArtifact StoredArtifact",
    "flowsync.model.content": "Content",
    "flowsync.model.digest": "DigestPolicy",
    "flowsync.model.errors": (
        "AlternateSourceNotFoundError BlobDamagedError BlobMissingError CannotCrossError "
        "CatalogConflictError CatalogError CatalogUnavailableError ConnectionLostError "
        "DeclarationError DigestMismatchError DisallowedContentError DuplicateContentError "
        "EmbeddedPostgresError ExportError FlowsyncError HashingError ImmutableVersionError "
        "IntegrityError ItemDroppedError MassRemovalError MissingDigestError NotContentError "
        "PipelineError PipelineStalledError PlanOutdatedError RepeatedStageError "
        "RepositoryBusyError RepositoryNotFoundError RepositoryVersionError RunNotFoundError "
        "SchemaTooNewError SettingsError SizeMismatchError StageEndedEarlyError StoreError "
        "StoreFullError StoreUnwritableError TooManyLeftOutError UnboundStageError "
        "UnsupportedDigestError VersionKeptError VersionNotFoundError WorkerError "
        "WorkersLostError"
    ),
    "flowsync.model.events": "Event Observer Reading SyncEnded SyncProgressed SyncStarted",
    "flowsync.model.plan": "SyncPlan",
    "flowsync.model.remote": "Downloader Policy Remote",
    "flowsync.model.repository": (
        "Change ErrorPolicy LeftOut Repository RepositoryVersion SyncResult VersionEntry"
    ),
    "flowsync.model.transfer": "FetchRequest Fetched Validators",
    "flowsync.model.transfer_errors": (
        "AllSourcesFailedError BrokenBodyError CertificateError ForbiddenPathError MetadataError "
        "OversizedBodyError RedirectError StatusError TransferError TransferTimeoutError "
        "UnreachableError UnreadableFileError UnsupportedUrlError"
    ),
    "flowsync.model.upkeep": "Finding PruneReport ReclaimReport RemovalReport VerifyReport",
    "flowsync.model.url": "redact",
    "flowsync.pipeline.collector": "collect_rarely",
    "flowsync.pipeline.pipeline": "Pipeline create_pipeline",
    "flowsync.pipeline.stage": "EndStage Stage",
    "flowsync.pipeline.tasks": "task_group",
    "flowsync.stages.acs_artifact_handler": "ACSArtifactHandler",
    "flowsync.stages.artifact_downloader": "ArtifactDownloader",
    "flowsync.stages.artifact_saver": "ArtifactSaver",
    "flowsync.stages.content_association": "ContentAssociation UnseenContent",
    "flowsync.stages.content_saver": "ContentSaver",
    "flowsync.stages.content_unassociation": "ContentUnassociation",
    "flowsync.stages.context": "RunContext",
    "flowsync.stages.generic_downloader": "GenericDownloader",
    "flowsync.stages.leave_out": "LeaveOut",
    "flowsync.stages.query_existing_artifacts": "QueryExistingArtifacts",
    "flowsync.stages.query_existing_contents": "QueryExistingContents",
    "flowsync.stages.remote_artifact_saver": "RemoteArtifactSaver",
    "flowsync.stages.resolve_content_futures": "ResolveContentFutures",
    "flowsync.stages.upstream": "UpstreamUnchanged",
    "flowsync.sync.declarative_version": "DeclarativeVersion",
    "flowsync.sync.engine": "Engine",
    "flowsync.sync.export": "export_version",
    "flowsync.sync.source": "MetadataFile SourceKind",
    "flowsync.sync.upkeep.prune": "prune",
    "flowsync.sync.upkeep.reclaim": "reclaim",
    "flowsync.sync.upkeep.remove": "remove_repository remove_runs",
    "flowsync.sync.upkeep.verify": "verify",
}
"""The public names by the module that defines them."""

_HOMES = {name: home for home, names in _NAMES.items() for name in names.split()}

__all__ = sorted(_HOMES)  # noqa: PLE0605 - __init__.pyi spells it out


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'flowsync' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return [*globals(), *_HOMES]
