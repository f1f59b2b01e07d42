"""How a Debian archive is served: which paths last a while after they went, and what files are."""

from typing import Final

from flowsync import Layout, StoredFile
from flowsync.sources.deb.content import DebFile, DebIndex, DebPackage, DebRelease, DebSource

_TEXT: Final = "text/plain; charset=utf-8"
_LISTS: Final = ("Release", "InRelease", "Packages", "Sources", "SHA256SUMS")
_FLAT: Final = ("InRelease", "Release", "Packages", "Sources", "Contents")
_PACKED: Final = ("", ".gz", ".xz", ".bz2", ".zst", ".lz4")
_INDEXES: Final = frozenset(f"{name}{packed}" for name in _FLAT for packed in _PACKED)


def lasts(path: str) -> bool:
    """Say whether a client may ask for a path by metadata that it got before a switch: for
    packages, and for indexes by their digests.
    """
    if path.startswith("dists/"):
        return "/by-hash/" in path
    name = path.rpartition("/")[2]
    return "/by-hash/" in f"/{path}" or (name not in _INDEXES and name != "Release.gpg")


def headers(file: StoredFile) -> dict[str, str]:
    """Say what a file is. Nothing is encoded for clients: they want indexes packed as they are."""
    name = file.relative_path.rpartition("/")[2]
    if name.endswith((".deb", ".udeb")):
        return {"Content-Type": "application/vnd.debian.binary-package"}
    if name in _LISTS or name.endswith(".dsc"):
        return {"Content-Type": _TEXT}
    if name == "Release.gpg":
        return {"Content-Type": "application/pgp-signature"}
    if name.endswith(".asc"):
        return {"Content-Type": "application/pgp-keys"}
    return {"Content-Type": "application/octet-stream"}


LAYOUT = Layout(
    types=(DebRelease, DebIndex, DebPackage, DebSource, DebFile), lasting=lasts, headers=headers
)
