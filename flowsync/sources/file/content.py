"""The content type of the file source."""

from flowsync import Content


class FileContent(Content):
    """A file with a path and a digest. Of two files with one path, a repository version holds the newer."""

    type_name = "file"
    natural_key = ("relative_path", "sha256")
    repo_key = ("relative_path",)

    relative_path: str
    sha256: str
