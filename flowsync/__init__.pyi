# The public names with their types. At run time `__init__.py` loads them when they are first used.

from flowsync.catalog.new_version import NewVersion
from flowsync.declare import (
    DeclarativeArtifact,
    DeclarativeContent,
)
from flowsync.download.retry import Backoff
from flowsync.model.artifact import (
    Artifact,
    StagedArtifact,
    StoredArtifact,
)
from flowsync.model.content import Content
from flowsync.model.digest import DigestPolicy
from flowsync.model.errors import (
    AlternateSourceNotFoundError,
    BlobDamagedError,
    BlobMissingError,
    CannotCrossError,
    CatalogConflictError,
    CatalogError,
    CatalogUnavailableError,
    ConnectionLostError,
    DeclarationError,
    DigestMismatchError,
    DisallowedContentError,
    DuplicateContentError,
    EmbeddedPostgresError,
    ExportError,
    FlowsyncError,
    HashingError,
    ImmutableVersionError,
    IntegrityError,
    ItemDroppedError,
    MassRemovalError,
    MissingDigestError,
    NotContentError,
    PipelineError,
    PipelineStalledError,
    PlanOutdatedError,
    RepeatedStageError,
    RepositoryBusyError,
    RepositoryNotFoundError,
    RepositoryVersionError,
    RunNotFoundError,
    SchemaTooNewError,
    SettingsError,
    SizeMismatchError,
    StageEndedEarlyError,
    StoreError,
    StoreFullError,
    StoreUnwritableError,
    TooManyLeftOutError,
    UnboundStageError,
    UnsupportedDigestError,
    VersionKeptError,
    VersionNotFoundError,
    WorkerError,
    WorkersLostError,
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
from flowsync.model.remote import (
    Downloader,
    Policy,
    Remote,
)
from flowsync.model.repository import (
    Change,
    ErrorPolicy,
    LeftOut,
    Repository,
    RepositoryVersion,
    SyncResult,
    VersionEntry,
)
from flowsync.model.transfer import (
    Fetched,
    FetchRequest,
    Validators,
)
from flowsync.model.transfer_errors import (
    AllSourcesFailedError,
    BrokenBodyError,
    CertificateError,
    ForbiddenPathError,
    MetadataError,
    OversizedBodyError,
    RedirectError,
    StatusError,
    TransferError,
    TransferTimeoutError,
    UnreachableError,
    UnreadableFileError,
    UnsupportedUrlError,
)
from flowsync.model.upkeep import (
    Finding,
    PruneReport,
    ReclaimReport,
    RemovalReport,
    VerifyReport,
)
from flowsync.model.url import redact
from flowsync.pipeline.collector import collect_rarely
from flowsync.pipeline.pipeline import (
    Pipeline,
    create_pipeline,
)
from flowsync.pipeline.stage import (
    EndStage,
    Stage,
)
from flowsync.pipeline.tasks import task_group
from flowsync.stages.acs_artifact_handler import ACSArtifactHandler
from flowsync.stages.artifact_downloader import ArtifactDownloader
from flowsync.stages.artifact_saver import ArtifactSaver
from flowsync.stages.content_association import (
    ContentAssociation,
    UnseenContent,
)
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
from flowsync.sync.source import (
    MetadataFile,
    SourceKind,
)
from flowsync.sync.upkeep.prune import prune
from flowsync.sync.upkeep.reclaim import reclaim
from flowsync.sync.upkeep.remove import (
    remove_repository,
    remove_runs,
)
from flowsync.sync.upkeep.verify import verify

__all__ = [
    "ACSArtifactHandler",
    "AllSourcesFailedError",
    "AlternateSourceNotFoundError",
    "Artifact",
    "ArtifactDownloader",
    "ArtifactSaver",
    "Backoff",
    "BlobDamagedError",
    "BlobMissingError",
    "BrokenBodyError",
    "CannotCrossError",
    "CatalogConflictError",
    "CatalogError",
    "CatalogUnavailableError",
    "CertificateError",
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
    "DisallowedContentError",
    "Downloader",
    "DuplicateContentError",
    "EmbeddedPostgresError",
    "EndStage",
    "Engine",
    "ErrorPolicy",
    "Event",
    "ExportError",
    "FetchRequest",
    "Fetched",
    "Finding",
    "FlowsyncError",
    "ForbiddenPathError",
    "GenericDownloader",
    "HashingError",
    "ImmutableVersionError",
    "IntegrityError",
    "ItemDroppedError",
    "LeaveOut",
    "LeftOut",
    "MassRemovalError",
    "MetadataError",
    "MetadataFile",
    "MissingDigestError",
    "NewVersion",
    "NotContentError",
    "Observer",
    "OversizedBodyError",
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
    "RedirectError",
    "Remote",
    "RemoteArtifactSaver",
    "RemovalReport",
    "RepeatedStageError",
    "Repository",
    "RepositoryBusyError",
    "RepositoryNotFoundError",
    "RepositoryVersion",
    "RepositoryVersionError",
    "ResolveContentFutures",
    "RunContext",
    "RunNotFoundError",
    "SchemaTooNewError",
    "SettingsError",
    "SizeMismatchError",
    "SourceKind",
    "Stage",
    "StageEndedEarlyError",
    "StagedArtifact",
    "StatusError",
    "StoreError",
    "StoreFullError",
    "StoreUnwritableError",
    "StoredArtifact",
    "SyncEnded",
    "SyncPlan",
    "SyncProgressed",
    "SyncResult",
    "SyncStarted",
    "TooManyLeftOutError",
    "TransferError",
    "TransferTimeoutError",
    "UnboundStageError",
    "UnreachableError",
    "UnreadableFileError",
    "UnseenContent",
    "UnsupportedDigestError",
    "UnsupportedUrlError",
    "UpstreamUnchanged",
    "Validators",
    "VerifyReport",
    "VersionEntry",
    "VersionKeptError",
    "VersionNotFoundError",
    "WorkerError",
    "WorkersLostError",
    "collect_rarely",
    "create_pipeline",
    "export_version",
    "prune",
    "reclaim",
    "redact",
    "remove_repository",
    "remove_runs",
    "task_group",
    "verify",
]
