# The public names: the only list of them. `__init__.py` reads it at run time, so each name keeps
# the form `from HOME import NAME as NAME`.

from flowsync.pipeline.pipeline import Pipeline as Pipeline
from flowsync.pipeline.pipeline import create_pipeline as create_pipeline
from flowsync.pipeline.stage import EndStage as EndStage
from flowsync.pipeline.stage import Stage as Stage
from flowsync.stages.artifact_stages import ArtifactDownloader as ArtifactDownloader
from flowsync.stages.artifact_stages import ArtifactSaver as ArtifactSaver
from flowsync.stages.artifact_stages import GenericDownloader as GenericDownloader
from flowsync.stages.artifact_stages import (
    QueryExistingArtifacts as QueryExistingArtifacts,
)
from flowsync.stages.content_stages import ACSArtifactHandler as ACSArtifactHandler
from flowsync.stages.content_stages import ContentAssociation as ContentAssociation
from flowsync.stages.content_stages import ContentSaver as ContentSaver
from flowsync.stages.content_stages import ContentUnassociation as ContentUnassociation
from flowsync.stages.content_stages import QueryExistingContents as QueryExistingContents
from flowsync.stages.content_stages import RemoteArtifactSaver as RemoteArtifactSaver
from flowsync.stages.content_stages import ResolveContentFutures as ResolveContentFutures
from flowsync.stages.content_stages import UnseenContent as UnseenContent
from flowsync.stages.context import RunContext as RunContext
from flowsync.stages.leave_out import LeaveOut as LeaveOut
from flowsync.stages.upstream import UpstreamUnchanged as UpstreamUnchanged
