"""Writes the list of an index and the page of a project, as JSON and as HTML: structs in, bytes
out. Pure; what `page` and `project_list` read is what is written here.

URLs are written as they are given, so they may be relative. Whatever upstream said is escaped.
"""

from collections.abc import Iterable, Iterator
from html import escape
from itertools import islice
from typing import Any, Final
from urllib.parse import quote

import msgspec

from flowsync.sources.pypi.pages.names import normalized
from flowsync.sources.pypi.pages.page import DIGESTS, Page, PageFile

_AT_ONCE: Final = 2000
"""Projects of a list that are written together."""


def file_url(project: str, filename: str) -> str:
    """Return the URL of a file from the page of its project, whose name is normalized."""
    return f"../../files/{project}/{quote(filename)}"


def api_version(page: Page) -> str:
    """Return the lowest version of the format that covers a page: 1.0 where a size is unknown,
    because all later ones want it.
    """
    if any(file.size is None for file in page.files):
        return "1.0"
    if page.reason or page.status not in {None, "active"}:
        return "1.4"
    if any(file.provenance is not None for file in page.files):
        return "1.3"
    return "1.2" if page.alternate_locations or page.tracks else "1.1"


def page_as_json(page: Page) -> bytes:
    """Return the page of a project as JSON."""
    meta: dict[str, Any] = {"api-version": api_version(page)}
    if page.serial is not None:
        meta["_last-serial"] = page.serial
    if page.tracks:
        meta["tracks"] = page.tracks
    written: dict[str, Any] = {
        "files": [_file_as_json(file) for file in page.files],
        "meta": meta,
        "name": normalized(page.name),
        "versions": _versions(page),
    }
    if page.status is not None or page.reason:
        written["project-status"] = _status(page)
    if page.alternate_locations:
        written["alternate-locations"] = page.alternate_locations
    return msgspec.json.encode(written)


def page_as_html(page: Page) -> bytes:
    """Return the page of a project as HTML."""
    title = escape(f"Links for {page.name}")
    metas = [("pypi:repository-version", api_version(page))]
    if page.status is not None:
        metas.append(("pypi:project-status", page.status))
    if page.reason:
        metas.append(("pypi:project-status-reason", page.reason))
    metas += [("pypi:tracks", url) for url in page.tracks]
    metas += [("pypi:alternate-locations", url) for url in page.alternate_locations]
    lines = [_head(metas, title), f"<h1>{title}</h1>\n"]
    lines += map(_file_as_html, page.files)
    lines.append("</body>\n</html>\n")
    return "".join(lines).encode()


def list_as_json(names: Iterable[str], serial: int | None = None) -> Iterator[bytes]:
    """Yield the list of an index as JSON, in pieces. Names are as they are shown."""
    meta: dict[str, Any] = {"api-version": "1.1"}
    if serial is not None:
        meta["_last-serial"] = serial
    yield b'{"meta":' + msgspec.json.encode(meta) + b',"projects":['
    comma = b""
    for some in _batches(names):
        yield comma + msgspec.json.encode([{"name": name} for name in some])[1:-1]
        comma = b","
    yield b"]}"


def list_as_html(names: Iterable[str]) -> Iterator[bytes]:
    """Yield the list of an index as HTML, in pieces. Names are as they are shown."""
    yield _head([("pypi:repository-version", "1.1")], "Simple index").encode()
    for some in _batches(names):
        lines = (f'<a href="{quote(normalized(name))}/">{escape(name)}</a><br>\n' for name in some)
        yield "".join(lines).encode()
    yield b"</body>\n</html>\n"


def _batches(names: Iterable[str]) -> Iterator[list[str]]:
    remaining = iter(names)
    while some := list(islice(remaining, _AT_ONCE)):
        yield some


def _versions(page: Page) -> list[str]:
    if page.versions is not None:
        return list(page.versions)
    return sorted({file.version for file in page.files})


def _status(page: Page) -> dict[str, str]:
    said = {"status": page.status or "active"}
    return {**said, "reason": page.reason} if page.reason else said


def _file_as_json(file: PageFile) -> dict[str, Any]:
    written: dict[str, Any] = {"filename": file.filename, "hashes": _hashes(file), "url": file.url}
    if file.requires_python is not None:
        written["requires-python"] = file.requires_python
    if file.size is not None:
        written["size"] = file.size
    if file.upload_time is not None:
        written["upload-time"] = file.upload_time
    written["yanked"] = False if file.yanked is None else file.yanked or True
    if file.metadata is not None:
        written["core-metadata"] = {"sha256": file.metadata} if file.metadata else True
    if file.provenance is not None:
        written["provenance"] = file.provenance
    return written


def _hashes(file: PageFile) -> dict[str, str]:
    known = ((name, getattr(file, name)) for name in DIGESTS)
    return {name: digest for name, digest in known if digest is not None}


def _file_as_html(file: PageFile) -> str:
    # One digest fits into a fragment, the first that is known.
    fragment = next((f"#{name}={digest}" for name, digest in _hashes(file).items()), "")
    attributes = [f'href="{escape(file.url)}{fragment}"']
    if file.requires_python is not None:
        attributes.append(f'data-requires-python="{escape(file.requires_python)}"')
    if file.yanked is not None:
        attributes.append(f'data-yanked="{escape(file.yanked)}"')
    if file.metadata is not None:
        said = f"sha256={file.metadata}" if file.metadata else "true"
        attributes.append(f'data-core-metadata="{said}" data-dist-info-metadata="{said}"')
    if file.provenance is not None:
        attributes.append(f'data-provenance="{escape(file.provenance)}"')
    return f"<a {' '.join(attributes)}>{escape(file.filename)}</a><br>\n"


def _head(metas: Iterable[tuple[str, str]], title: str) -> str:
    lines = "".join(
        f'<meta name="{escape(name)}" content="{escape(content)}">\n' for name, content in metas
    )
    return (
        f'<!DOCTYPE html>\n<html>\n<head>\n<meta charset="utf-8">\n{lines}<title>{title}</title>\n'
        "</head>\n<body>\n"
    )
