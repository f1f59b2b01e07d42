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
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pysequoia

from bench.syncs.tree import body

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
    suite = folder / "dists" / SUITE
    plain = "".join(paragraphs).encode()
    packed = {
        _LISTED: plain,
        f"{_LISTED}.gz": gzip.compress(plain, 6, mtime=0),
        f"{_LISTED}.xz": lzma.compress(plain, preset=0),
    }
    for path, data in packed.items():
        (suite / path).write_bytes(data)
    release = _release(packed).encode()
    (suite / "Release").write_bytes(release)
    (suite / "InRelease").write_bytes(_signed(folder / KEY, release))


def _release(listed: dict[str, bytes]) -> str:
    now = f"{datetime.now(UTC):%a, %d %b %Y %H:%M:%S} UTC"
    head = f"Origin: bench\nSuite: {SUITE}\nCodename: {SUITE}\nDate: {now}\n"
    head += "Architectures: amd64\nComponents: main\n"
    for field, algorithm in (("MD5Sum", "md5"), ("SHA256", "sha256")):
        lines = (
            f" {hashlib.new(algorithm, data, usedforsecurity=False).hexdigest()} "
            f"{len(data)} {path}\n"
            for path, data in listed.items()
        )
        head += f"{field}:\n{''.join(lines)}"
    return head


def _signed(public: Path, text: bytes) -> bytes:
    """Return `text` signed in the clear by the archive's key, which is made on first use; its
    public part goes to `public`.
    """
    secret = public.parent.with_suffix(".key")
    if not (secret.exists() and public.exists()):
        made = pysequoia.Tsk.generate("Bench <bench@localhost>")
        secret.write_text(str(made))
        public.write_text(str(made.extract_certificate()))
    signer = pysequoia.Tsk.from_file(str(secret)).signer()
    return bytes(pysequoia.sign(signer, text, mode=pysequoia.SignatureMode.CLEAR))
