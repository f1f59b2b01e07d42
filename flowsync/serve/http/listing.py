"""Pages of folders, for people and for programs. Values in, HTML or JSON out.

1. Everything that comes from a version is escaped: names are upstream's words.
2. Links are relative to the page, so that a page works below any prefix of a proxy.
3. A page says at its end where the next one begins, when the folder is too large for one.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any, Final
from urllib.parse import quote

import msgspec

from flowsync.catalog.queries.served_paths import FolderChild, FolderPage, ServedVersion

POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'"
"""Of a page with names from elsewhere: nothing on it is run or loaded."""

_STYLE: Final = (
    "body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem}"
    "table{border-collapse:collapse;width:100%}td,th{padding:.2rem .6rem;text-align:left}"
    "tr:nth-child(even){background:#8881}.n{text-align:right;white-space:nowrap}"
    "a{text-decoration:none}a:hover{text-decoration:underline}h1{font-size:1.3rem}"
)


class Folder(msgspec.Struct, frozen=True, kw_only=True):
    """A folder of a version as it is shown: `path` is empty or ends with a slash; `beside` are
    files that are made from the version.
    """

    version: ServedVersion
    path: str
    page: FolderPage
    beside: Sequence[str] = ()
    versions: Sequence[ServedVersion] = ()


def wants_json(accept: str | None) -> bool:
    """Say whether a client prefers JSON to HTML, by its `Accept`; who does not care gets HTML."""
    weights = {"text/html": 0.0, "application/json": 0.0}
    for entry in (accept or "").split(","):
        kind, *parameters = (part.strip().lower() for part in entry.split(";"))
        if kind in weights:
            weights[kind] = max(weights[kind], _weight(parameters))
    return weights["application/json"] > weights["text/html"]


def repositories_html(names: Sequence[str]) -> bytes:
    """Return the page of all repositories."""
    rows = "".join(
        f'<tr><td><a href="{escape(_href(name + "/"))}">{escape(name)}/</a></td></tr>'
        for name in names
    )
    return _page("Repositories", f"<h1>Repositories</h1><table>{rows}</table>")


def repositories_json(names: Sequence[str]) -> bytes:
    """Return all repositories as an object."""
    return msgspec.json.encode({"repositories": list(names)})


def folder_html(folder: Folder) -> bytes:
    """Return the page of a folder: its children with sizes and dates, and at the top of a version
    the others to choose from.
    """
    version = folder.version
    title = f"{version.name} / {folder.path}".rstrip(" /")
    rows = ['<tr><td><a href="../">../</a></td><td></td><td></td></tr>']
    rows += [_file_row(name, None, None) for name in folder.beside]
    rows += [_row(child, folder.path) for child in folder.page.children]
    about = f"Version {version.number} of {_date(version.created)}, {version.present} units."
    parts = [
        f"<h1>{escape(title)}</h1><p>{about}</p>",
        "<table><tr><th>Name</th><th class=n>Bytes</th><th class=n>Since</th></tr>",
        *rows,
        "</table>",
    ]
    if folder.page.next is not None:
        parts.append(f'<p><a href="?after={quote(folder.page.next, safe="")}">more</a></p>')
    if folder.versions:
        parts.append(f"<p>Versions: {', '.join(map(_version_link, folder.versions))}</p>")
    return _page(title, "".join(parts))


def folder_json(folder: Folder) -> bytes:
    """Return a page of a folder as an object."""
    version, below = folder.version, len(folder.path)
    facts: dict[str, Any] = {
        "repository": version.name,
        "version": version.number,
        "created": version.created,
        "path": folder.path,
        "folders": [each.path[below:] for each in folder.page.children if each.is_folder],
        "files": [_file(each, below) for each in folder.page.children if not each.is_folder],
        "next": folder.page.next,
    }
    if not folder.path:
        facts["published"] = list(folder.beside)
        facts["versions"] = [
            {"number": each.number, "created": each.created, "units": each.present}
            for each in folder.versions
        ]
    return msgspec.json.encode(facts)


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return float(parameter[2:])
            except ValueError:
                return 0.0
    return 1.0


def _file(child: FolderChild, below: int) -> dict[str, Any]:
    return {
        "name": child.path[below:],
        "size": child.size,
        "sha256": child.sha256,
        "stored": child.stored,
        "since": child.since,
    }


def _row(child: FolderChild, folder: str) -> str:
    return _file_row(child.path[len(folder) :], child.size, child.since)


def _file_row(name: str, size: int | None, since: datetime | None) -> str:
    return (
        f'<tr><td><a href="{escape(_href(name))}">{escape(name)}</a></td>'
        f"<td class=n>{'' if size is None else f'{size:,}'}</td>"
        f"<td class=n>{'' if since is None else _date(since)}</td></tr>"
    )


def _version_link(version: ServedVersion) -> str:
    place = _href(f"../{version.name}@{version.number}/")
    return f'<a href="{escape(place)}" title="{_date(version.created)}">{version.number}</a>'


def _href(path: str) -> str:
    """Return a relative link. With a dot in front, no name is taken for a scheme or a host."""
    encoded = quote(path, safe="/@")
    return encoded if encoded.startswith("../") else f"./{encoded}"


def _date(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def _page(title: str, body: str) -> bytes:
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style>{body}</html>\n'
    ).encode()
