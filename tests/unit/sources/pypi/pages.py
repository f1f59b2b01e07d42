"""Pages of an index, written for tests as indexes write them."""

import hashlib
import json
from html import escape
from typing import Any

JSON = "application/vnd.pypi.simple.v1+json"
HTML = "text/html; charset=utf-8"
URL = "https://index.example.org/simple/fx/"


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def entry(filename: str, **fields: Any) -> dict[str, Any]:
    """Return a file of a page of JSON; None leaves a field out."""
    return {
        name: value
        for name, value in {
            "filename": filename,
            "url": f"../../packages/{filename}",
            "hashes": {"sha256": sha256(filename)},
            "size": 1000,
            "upload-time": "2024-11-06T22:37:10.868088Z",
            **{name.replace("_", "-"): value for name, value in fields.items()},
        }.items()
        if value is not None
    }


def json_page(*files: dict[str, Any], api: str = "1.1", name: str = "fx", **fields: Any) -> bytes:
    meta = {"api-version": api, **fields.pop("meta", {})}
    return json.dumps({"files": files, "meta": meta, "name": name, **fields}).encode()


def anchor(filename: str, **attributes: str | None) -> str:
    """Return a link to a file in a page of HTML, with more attributes; None has no value."""
    href = attributes.pop("href", f"../../packages/{filename}#sha256={sha256(filename)}")
    said = "".join(
        f" {name.replace('_', '-')}" + ("" if value is None else f'="{escape(value)}"')
        for name, value in attributes.items()
    )
    return f'<a href="{escape(href or "")}"{said}>{escape(filename)}</a><br>\n'


def html_page(*anchors: str, head: str = "") -> bytes:
    body = "".join(anchors)
    return (
        f"<!DOCTYPE html><html><head>{head}<title>Links</title></head><body>{body}</body></html>"
    ).encode()
