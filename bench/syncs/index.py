"""A Python index of some projects with ten wheels each, made once for a scenario and kept: JSON
pages below `simple/`, and below `pypi/` what mirrors ask for that use the older interface of PyPI.

The wheels are noise: mirrors look at digests and sizes, not into them. Pages are files, so only a
server that is told their types can serve them (`web.py`).
"""

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from bench.syncs.tree import body

SERIAL: Final = 1000
"""The serial of all pages and of the list."""

PAGE: Final = "index.json"

_FILES_A_PROJECT: Final = 10
_META: Final = {"api-version": "1.1", "_last-serial": SERIAL}
_COMPLETE: Final = "complete"


def grow(folder: Path, sizes: Sequence[int], *, bodies: bool) -> Path:
    """Make the index in `folder` unless it is there complete; return the folder."""
    if not (folder / _COMPLETE).exists():
        shutil.rmtree(folder, ignore_errors=True)
        files = [_wheel(folder, number, size) for number, size in enumerate(sizes)]
        names = []
        for number in range(0, len(files), _FILES_A_PROJECT):
            names.append(f"project-{number // _FILES_A_PROJECT:05d}")
            _write_project(folder, names[-1], files[number : number + _FILES_A_PROJECT])
        listed = [{"name": name, "_last-serial": SERIAL} for name in names]
        _write(folder / "simple" / PAGE, {"meta": _META, "projects": listed})
        (folder / _COMPLETE).touch()
    return folder


def change(folder: Path, share: float) -> None:
    """No scenario changes an index."""
    raise NotImplementedError("a Python index that changes needs a serial that does")


def paths(folder: Path) -> Iterator[str]:
    """Yield the relative paths of the wheels."""
    for file in sorted((folder / "packages").iterdir()):
        yield f"packages/{file.name}"


def _wheel(folder: Path, number: int, size: int) -> dict[str, Any]:
    project, version = number // _FILES_A_PROJECT, number % _FILES_A_PROJECT
    name = f"project_{project:05d}-1.{version}-py3-none-any.whl"
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    path = folder / "packages" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        for piece in body(number, size):
            file.write(piece)
            sha256.update(piece)
            md5.update(piece)
    return {
        "filename": name,
        "url": f"/packages/{name}",
        "hashes": {"sha256": sha256.hexdigest()},
        "md5": md5.hexdigest(),
        "requires-python": ">=3.8",
        "size": size,
        "upload-time": "2026-01-01T00:00:00.000000Z",
        "yanked": False,
        "version": f"1.{version}",
    }


def _write_project(folder: Path, name: str, files: Sequence[dict[str, Any]]) -> None:
    versions = [file["version"] for file in files]
    listed = [{key: file[key] for key in file if key not in {"md5", "version"}} for file in files]
    page = {"meta": _META, "name": name, "versions": versions, "files": listed}
    _write(folder / "simple" / name / PAGE, page)
    releases = {file["version"]: [_release_file(file)] for file in files}
    info = {"name": name, "version": versions[-1], "requires_dist": None}
    older = {"info": info, "last_serial": SERIAL, "releases": releases, "urls": []}
    _write(folder / "pypi" / name / "json", older)


def _release_file(file: dict[str, Any]) -> dict[str, Any]:
    return {
        "filename": file["filename"],
        "url": file["url"],
        "digests": {"sha256": file["hashes"]["sha256"], "md5": file["md5"]},
        "size": file["size"],
        "packagetype": "bdist_wheel",
        "python_version": "py3",
        "requires_python": file["requires-python"],
        "upload_time_iso_8601": file["upload-time"],
        "yanked": False,
    }


def _write(path: Path, found: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found))
