"""The content type of the file source."""

from flowsync import Content, GeneratedFiles, Layout, NewFiles, VersionReader
from flowsync.sources.file.manifest import MANIFEST_NAME


class FileContent(Content):
    """A file with a path and a digest. A new file replaces the one that an older version has at its
    path.
    """

    type_name = "file"
    natural_key = ("relative_path", "sha256")
    repo_key = ("relative_path",)

    relative_path: str
    sha256: str


# What a served version of files has beside them: a `PULP_MANIFEST`, from which another flowsync, or
# the original, can sync.
#
# The lines are in order of path. A file of which neither digest nor size is known is left out:
# nobody could serve it either.


def write_manifest(version: VersionReader, files: NewFiles) -> None:
    """Write the manifest of a version."""
    with files.open(MANIFEST_NAME) as manifest:
        for file in version.files(FileContent):
            if file.sha256 is not None and file.size is not None:
                line = f"{file.relative_path},{file.sha256},{file.size}\n"
                manifest.write(line.encode())


LAYOUT = Layout(
    types=(FileContent,), files=(GeneratedFiles(paths=(MANIFEST_NAME,), make=write_manifest),)
)
