"""What a served version of files has beside them: a `PULP_MANIFEST`, from which another flowsync,
or the original, can sync. Pure.

The lines are in order of path. A file of which neither digest nor size is known is left out: nobody
could serve it either.
"""

from collections.abc import Sequence

from flowsync import MetadataFile, VersionEntry
from flowsync.sources.file.content import FileContent
from flowsync.sources.file.manifest import MANIFEST_NAME


def manifest_lines(entries: Sequence[VersionEntry]) -> bytes:
    """Return the lines of the manifest for some files."""
    return "".join(
        f"{entry.relative_path},{entry.sha256},{entry.size}\n"
        for entry in entries
        if entry.sha256 is not None and entry.size is not None
    ).encode()


MANIFEST = MetadataFile(path=MANIFEST_NAME, type_name=FileContent.type_name, render=manifest_lines)
