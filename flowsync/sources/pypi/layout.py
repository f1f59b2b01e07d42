"""How an index is served: the list, a page a project, and the files. Pages are made of what a
version holds, as the client likes them best; only what is there is said to be there.

The format is that of the Simple repository API (PEP 503, 629, 691, 700, 714, 740, 792).
"""

from collections.abc import Iterable, Iterator
from typing import Final

from flowsync import (
    Document,
    ExportedFile,
    GeneratedPage,
    Layout,
    Moved,
    PageRequest,
    StoredFile,
    UnitFile,
    VersionReader,
    VersionUnit,
)
from flowsync.sources.pypi.content import PythonFile, PythonProject, path_of
from flowsync.sources.pypi.pages.names import is_normalized, project_name
from flowsync.sources.pypi.pages.page import HTML_TYPE, JSON_TYPE, Page, PageFile
from flowsync.sources.pypi.pages.simple_pages import (
    file_url,
    list_as_html,
    list_as_json,
    page_as_html,
    page_as_json,
)

SERIAL: Final = "X-PyPI-Last-Serial"
"""Tells the number of the version, so that another mirror asks for what changed."""

_LATEST: Final = {
    "application/vnd.pypi.simple.latest+json": JSON_TYPE,
    "application/vnd.pypi.simple.latest+html": HTML_TYPE,
}
MEDIA_TYPES: Final = ("text/html", JSON_TYPE, HTML_TYPE, *_LATEST)


def covers(path: str) -> bool:
    """Say whether a path is that of a page."""
    return path == "simple" or path.startswith("simple/")


def make_page(version: VersionReader, asked: PageRequest) -> Document | Moved | None:
    """Make the list or the page of a project."""
    if asked.path == "simple":
        return Moved("simple/")
    name = asked.path.removeprefix("simple/")
    if not name:
        return _list(version, asked.media_type)
    project = project_name(name.rstrip("/"))
    if project is None:
        return None
    if not (name == f"{project}/" and is_normalized(project)):
        return Moved(f"simple/{project}/")
    unit = next(version.units(PythonProject, group=(project,)), None)
    if unit is None:
        return None
    files = sorted(version.units(PythonFile, group=(project,)), key=_filename)
    page = _page(version, unit.content, files)
    kind = _LATEST.get(asked.media_type, asked.media_type)
    body = page_as_json(page) if kind == JSON_TYPE else page_as_html(page)
    return _document(version, body, kind)


def _list(version: VersionReader, media_type: str) -> Document:
    units = version.units(PythonProject, with_files=False)
    names = sorted(unit.content.name for unit in units)
    kind = _LATEST.get(media_type, media_type)
    if kind == JSON_TYPE:
        return _document(version, list_as_json(names, version.number), kind)
    return _document(version, list_as_html(names), kind)


def _document(version: VersionReader, body: bytes | Iterable[bytes], kind: str) -> Document:
    kind = f"{kind}; charset=utf-8" if kind == "text/html" else kind
    return Document(body=body, content_type=kind, headers={SERIAL: str(version.number)})


def _page(
    version: VersionReader, project: PythonProject, units: Iterable[VersionUnit[PythonFile]]
) -> Page:
    return Page(
        name=project.name,
        status=project.status,
        reason=project.reason,
        alternate_locations=project.alternate_locations,
        tracks=project.tracks,
        serial=version.number,
        files=tuple(map(_page_file, units)),
    )


def _page_file(unit: VersionUnit[PythonFile]) -> PageFile:
    content = unit.content
    here = {file.relative_path: file for file in unit.files}
    path = path_of(content.project, content.filename)
    own = here.get(path)
    url = file_url(content.project, content.filename)
    return PageFile(
        filename=content.filename,
        url=url,
        version=content.version,
        sha256=content.sha256 or (own.sha256 if own is not None else None),
        sha512=content.sha512,
        sha384=content.sha384,
        size=content.size if own is None or own.size is None else own.size,
        requires_python=content.requires_python,
        upload_time=content.upload_time,
        yanked=content.yanked,
        metadata=_digest(here.get(f"{path}.metadata")),
        provenance=f"{url}.provenance" if f"{path}.provenance" in here else None,
    )


def _digest(file: UnitFile | None) -> str | None:
    return None if file is None else file.sha256 or ""


def _filename(unit: VersionUnit[PythonFile]) -> str:
    return unit.content.filename


def exported(version: VersionReader) -> Iterator[ExportedFile]:
    """Yield the pages that a plain server of files serves: `index.html` for folders, and
    `index.json` beside it.
    """
    names: list[str] = []
    for unit in version.units(PythonProject, with_files=False):
        project = unit.content
        names.append(project.name)
        files = sorted(version.units(PythonFile, group=(project.name,)), key=_filename)
        page = _page(version, project, files)
        yield f"simple/{project.name}/index.html", page_as_html(page)
        yield f"simple/{project.name}/index.json", page_as_json(page)
    names.sort()
    yield "simple/index.html", list_as_html(names)
    yield "simple/index.json", list_as_json(names, version.number)


def headers(file: StoredFile) -> dict[str, str]:
    """Say what a file is. Nothing is said to be encoded: clients want archives as they are."""
    if file.relative_path.endswith(".provenance"):
        return {"Content-Type": "application/vnd.pypi.integrity.v1+json"}
    return {"Content-Type": "application/octet-stream"}


LAYOUT = Layout(
    types=(PythonProject, PythonFile),
    pages=(GeneratedPage(covers=covers, make=make_page, media_types=MEDIA_TYPES),),
    headers=headers,
    exported=exported,
)
