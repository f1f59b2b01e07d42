"""The content type of the file source."""

from flowsync import Content


class FileContent(Content):
    """A file with a path and a digest. A new file replaces the one that an older version has at its
    path.
    """

    type_name = "file"
    natural_key = ("relative_path", "sha256")
    repo_key = ("relative_path",)

    relative_path: str
    sha256: str
