"""The content types of the pypi source."""

from flowsync import WHOLE_CONTENT, Content


class PythonFile(Content):
    """A file of a project, with what its page says of it: a file that is yanked is another unit
    with the same bytes.

    Texts are upstream's own. `yanked` is the reason, perhaps empty, of a file that is.
    """

    type_name = "pypi.file"
    natural_key = WHOLE_CONTENT
    repo_key = ("filename",)
    group_key = ("project",)

    project: str
    filename: str
    version: str
    sha256: str | None = None
    sha512: str | None = None
    sha384: str | None = None
    size: int | None = None
    requires_python: str | None = None
    upload_time: str | None = None
    yanked: str | None = None
    metadata_sha256: str | None = None
    provenance_sha256: str | None = None


class PythonProject(Content):
    """A project of an index, which may be without files. `name` is normalized: pages of JSON tell
    no other spelling.
    """

    type_name = "pypi.project"
    natural_key = WHOLE_CONTENT
    repo_key = ("name",)
    group_key = ("name",)

    name: str
    status: str | None = None
    reason: str | None = None
    alternate_locations: tuple[str, ...] = ()
    tracks: tuple[str, ...] = ()


def path_of(project: str, filename: str) -> str:
    """Return the path of a file below a version."""
    return f"files/{project}/{filename}"
