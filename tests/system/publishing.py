"""Upstreams of the file source: files and the manifest that lists them. Plugins that bring other
sources.
"""

import hashlib
from collections.abc import Mapping
from urllib.parse import quote

from tests.system.command import REPOSITORY, CommandLine
from tests.upstream.server import Upstream


def manifest_of(files: Mapping[str, bytes]) -> bytes:
    """Return the manifest that lists the files."""
    return b"".join(
        f"{path},{hashlib.sha256(body).hexdigest()},{len(body)}\n".encode()
        for path, body in files.items()
    )


def publish(upstream: Upstream, files: Mapping[str, bytes], folder: str = "") -> str:
    """Put the files and their manifest below `folder`, which begins with a slash or is empty;
    return the manifest's URL.
    """
    for path, body in files.items():
        upstream.put(f"{folder}/{quote(path)}", body)
    return upstream.put(f"{folder}/PULP_MANIFEST", manifest_of(files))


def numbered(count: int) -> dict[str, bytes]:
    """Return so many small files, all different."""
    return {f"files/{number:04}.txt": f"file {number}\n".encode() * 10 for number in range(count)}


def install(flowsync: CommandLine, kind: str, program: str) -> None:
    """Let the command line find a package that brings the kind of source; `program` is its module,
    and `SOURCE` the kind in it.
    """
    packages = flowsync.folder / "packages"
    information = packages / f"{kind}_source-1.0.dist-info"
    information.mkdir(parents=True)
    (packages / f"{kind}_source.py").write_text(program)
    (information / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {kind}-source\nVersion: 1.0\n"
    )
    (information / "entry_points.txt").write_text(
        f"[flowsync.sources]\n{kind} = {kind}_source:SOURCE\n"
    )
    flowsync.environment["PYTHONPATH"] = f"{packages}:{REPOSITORY}"
