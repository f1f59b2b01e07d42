"""How the file source presents itself to the command line."""

from flowsync import SourceKind
from flowsync.sources.file.content import LAYOUT
from flowsync.sources.file.stage import FileFirstStage

SOURCE = SourceKind(
    name="file",
    summary="A PULP_MANIFEST: lines of 'path,sha256,size', paths relative to it. With a slash at "
    "its "
    "end, the folder that holds one.",
    first_stage=FileFirstStage,
    layout=LAYOUT,
)
