"""The file source: any files, listed in a `PULP_MANIFEST`."""

from flowsync.sources.file.content import FileContent
from flowsync.sources.file.kind import SOURCE
from flowsync.sources.file.manifest import ManifestEntry
from flowsync.sources.file.stage import FileFirstStage

__all__ = ["SOURCE", "FileContent", "FileFirstStage", "ManifestEntry"]
