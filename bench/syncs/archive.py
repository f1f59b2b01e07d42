"""A Debian archive of one suite and one component, made once for a scenario and kept: `InRelease`,
`Release`, `Packages` plain and packed, and a pool.

The packages are noise in the place of `.deb` files: mirrors look at digests and sizes, not into
them. The suite is signed by a key that is made with it, whose public part lies beside the suites.
"""

import gzip
import hashlib
import lzma
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import pysequoia

from bench.syncs.tree import body
from flowsync.packages.openpgp import SigningKey
from scripts.debian_archive import write_suite

SUITE: Final = "one"
KEY: Final = "archive.asc"

_LISTED: Final = "main/binary-amd64/Packages"
_PACKAGES_A_FOLDER: Final = 200


def grow(folder: Path, sizes: Sequence[int], *, bodies: bool) -> Path:
    """Make the archive in `folder` unless it is there complete; return the folder."""
    if not (folder / "dists" / SUITE / "InRelease").exists():
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "dists" / SUITE / "main/binary-amd64").mkdir(parents=True)
        listed = [_paragraph(folder, number, size, 0) for number, size in enumerate(sizes)]
        _list(folder, listed)
    return folder


def change(folder: Path, share: float) -> None:
    """Let a share of the packages, spread evenly, have a new version with other bytes, and sign
    the suite anew.
    """
    turn = time.time_ns()
    every = round(1 / share)
    listed = (folder / "dists" / SUITE / _LISTED).read_text().split("\n\n")[:-1]
    listed = [f"{paragraph.lstrip()}\n\n" for paragraph in listed]
    for number in range(turn % every, len(listed), every):
        fields = dict(line.split(": ", 1) for line in listed[number].splitlines() if line)
        (folder / fields["Filename"]).unlink()
        listed[number] = _paragraph(folder, number, int(fields["Size"]), turn)
    _list(folder, listed)


def paths(folder: Path) -> Iterator[str]:
    """Yield the relative paths of the packages that the suite lists."""
    with open(folder / "dists" / SUITE / _LISTED) as listed:
        for line in listed:
            if line.startswith("Filename: "):
                yield line.removeprefix("Filename: ").rstrip("\n")


def _paragraph(folder: Path, number: int, size: int, turn: int) -> str:
    name, version = f"pkg-{number:06d}", f"1.{turn}"
    path = f"pool/main/{number // _PACKAGES_A_FOLDER:05d}/{name}_{version}_amd64.deb"
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    md5, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
    with open(folder / path, "wb") as file:
        for piece in body(number + turn, size):
            file.write(piece)
            md5.update(piece)
            sha256.update(piece)
    return (
        f"Package: {name}\nVersion: {version}\nArchitecture: amd64\n"
        "Maintainer: Bench <bench@localhost>\nInstalled-Size: 1\nSection: misc\n"
        f"Priority: optional\nFilename: {path}\nSize: {size}\nMD5sum: {md5.hexdigest()}\n"
        f"SHA256: {sha256.hexdigest()}\nDescription: package {number} of a bench\n\n"
    )


def _list(folder: Path, paragraphs: Sequence[str]) -> None:
    """Write the indexes, then the signed suite: it says that all is there."""
    plain = "".join(paragraphs).encode()
    packed = {
        _LISTED: plain,
        f"{_LISTED}.gz": gzip.compress(plain, 6, mtime=0),
        f"{_LISTED}.xz": lzma.compress(plain, preset=0),
    }
    write_suite(
        folder,
        SUITE,
        packed,
        _key(folder / KEY),
        by_hash=False,
        Architectures="amd64",
        Components="main",
    )


def _key(public: Path) -> SigningKey:
    """Return the archive's key, which is made on first use; its public part goes to `public`."""
    secret = public.parent.with_suffix(".key")
    if not (secret.exists() and public.exists()):
        secret.write_text(str(pysequoia.Tsk.generate("Bench <bench@localhost>")))
        public.write_bytes(SigningKey.read(str(secret)).public_key)
    return SigningKey.read(str(secret))
