"""How the file source presents itself to the command line."""

from flowsync import SourceKind
from flowsync.sources.file.stage import FileFirstStage

SOURCE = SourceKind(
    name="file",
    summary="files listed in a PULP_MANIFEST: one 'path,sha256,size' a line, paths relative to it",
    first_stage=FileFirstStage,
)
