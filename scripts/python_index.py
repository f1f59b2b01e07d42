"""Makes small indexes of Python packages without any tool: wheels that `pip` can install, and pages
that list them. For the demo and for tests.

Formats: https://packaging.python.org/en/latest/specifications/, the binary distribution format and
the Simple repository API.
"""

import base64
import hashlib
import io
import zipfile
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple


class Wheel(NamedTuple):
    """A wheel with its name, and the metadata in it."""

    project: str
    version: str
    filename: str
    body: bytes
    metadata: bytes

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.body).hexdigest()


def wheel(
    project: str,
    version: str = "1.0",
    *,
    requires: Sequence[str] = (),
    python: str = ">=3.8",
    tags: str = "py3-none-any",
) -> Wheel:
    """Make a wheel with one module, which is named like the project and tells its version."""
    module = project.lower().replace("-", "_").replace(".", "_")
    info = f"{module}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {project}\nVersion: {version}\n"
    metadata += f"Requires-Python: {python}\n"
    metadata += "".join(f"Requires-Dist: {each}\n" for each in requires)
    files = {
        f"{module}.py": f'version = "{version}"\n'.encode(),
        f"{info}/METADATA": metadata.encode(),
        f"{info}/WHEEL": (
            f"Wheel-Version: 1.0\nGenerator: flowsync\nRoot-Is-Purelib: true\nTag: {tags}\n"
        ).encode(),
    }
    files[f"{info}/RECORD"] = _record(files, f"{info}/RECORD")
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in files.items():
            archive.writestr(zipfile.ZipInfo(path, (1980, 1, 1, 0, 0, 0)), data)
    filename = f"{module}-{version}-{tags}.whl"
    return Wheel(project, version, filename, written.getvalue(), metadata.encode())


def write_index(root: Path, projects: Mapping[str, Sequence[Wheel]]) -> None:
    """Write an index with pages of HTML, which any server of files can serve: its list is
    `simple/` below `root`.
    """
    for name, wheels in projects.items():
        for each in wheels:
            _write(root / "packages" / each.filename, each.body)
            _write(root / "packages" / f"{each.filename}.metadata", each.metadata)
        _write(root / "simple" / name / "index.html", html_page(name, wheels))
    links = "".join(f'<a href="{name}/">{escape(name)}</a><br>\n' for name in projects)
    _write(root / "simple" / "index.html", f"<!DOCTYPE html>\n<html><body>\n{links}".encode())


def html_page(name: str, wheels: Sequence[Wheel]) -> bytes:
    """Return the page of a project."""
    links = "".join(
        f'<a href="../../packages/{each.filename}#sha256={each.sha256}" '
        f'data-core-metadata="sha256={hashlib.sha256(each.metadata).hexdigest()}">'
        f"{each.filename}</a><br>\n"
        for each in wheels
    )
    page = f"<!DOCTYPE html>\n<html><head><title>{escape(name)}</title></head><body>\n{links}"
    return f"{page}</body></html>\n".encode()


def json_file(each: Wheel, url: str, fields: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return what a page of JSON says of a wheel; `fields` replace what it would say."""
    return {
        "filename": each.filename,
        "url": url,
        "hashes": {"sha256": each.sha256},
        "requires-python": ">=3.8",
        "size": len(each.body),
        "upload-time": "2024-01-01T00:00:00.000000Z",
        "yanked": False,
        "core-metadata": {"sha256": hashlib.sha256(each.metadata).hexdigest()},
        **(fields or {}),
    }


def _record(files: Mapping[str, bytes], own: str) -> bytes:
    lines = [f"{path},sha256={_urlsafe(data)},{len(data)}" for path, data in files.items()]
    return ("\n".join([*lines, f"{own},,"]) + "\n").encode()


def _urlsafe(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
