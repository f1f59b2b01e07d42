"""The files of an upstream: made once for a scenario and kept, with a `PULP_MANIFEST` that lists
them.

Bodies differ in each byte's neighbourhood but cost no random numbers: a block of noise, turned by
the file's number. Where a scenario has no bodies only the manifest is written, with digests that
nothing has.
"""

import hashlib
import random
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

MANIFEST: Final = "PULP_MANIFEST"

_NOISE: Final = random.Random(1).randbytes(1 << 20)
_FILES_A_FOLDER: Final = 200


def grow(folder: Path, sizes: Sequence[int], *, bodies: bool) -> Path:
    """Make the folder with its files and manifest unless it is there complete; return it."""
    if not (folder / MANIFEST).exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        lines = [_line(folder, number, size, bodies) for number, size in enumerate(sizes)]
        # The manifest last: it says that all is there.
        (folder / MANIFEST).write_text("".join(lines))
    return folder


def change(folder: Path, share: float) -> None:
    """Let a share of the manifest's lines, spread evenly, name digests that they never had
    before.
    """
    manifest = folder / MANIFEST
    turn = time.time_ns()
    every = round(1 / share)
    lines = manifest.read_text().splitlines(keepends=True)
    for number in range(turn % every, len(lines), every):
        path, _, size = lines[number].rsplit(",", 2)
        lines[number] = f"{path},{_digest_of_nothing(number, turn)},{size}"
    manifest.write_text("".join(lines))


def split(folder: Path, parts: int) -> list[str]:
    """Write manifests that each list a part of the files, beside the one that lists all, and return
    their names.
    """
    lines = (folder / MANIFEST).read_text().splitlines(keepends=True)
    names = [f"{MANIFEST}.{part:02d}" for part in range(parts)]
    for part, name in enumerate(names):
        (folder / name).write_text("".join(lines[part::parts]))
    return names


def paths(folder: Path) -> Iterator[str]:
    """Yield the relative paths that the manifest lists."""
    with open(folder / MANIFEST) as manifest:
        for line in manifest:
            yield line.rsplit(",", 2)[0]


def _line(folder: Path, number: int, size: int, bodies: bool) -> str:
    path = f"{number // _FILES_A_FOLDER:05d}/file-{number:07d}.bin"
    if not bodies:
        return f"{path},{_digest_of_nothing(number, 0)},{size}\n"
    if number % _FILES_A_FOLDER == 0:
        (folder / path).parent.mkdir()
    digest = hashlib.sha256()
    with open(folder / path, "wb") as file:
        for piece in body(number, size):
            file.write(piece)
            digest.update(piece)
    return f"{path},{digest.hexdigest()},{size}\n"


def body(number: int, size: int) -> Iterator[bytes]:
    """Yield `size` bytes that no other number has, in pieces."""
    head = hashlib.sha256(str(number).encode()).digest()[:size]
    yield head
    rest = size - len(head)
    while rest > 0:
        yield _NOISE[: min(rest, len(_NOISE))]
        rest -= len(_NOISE)


def _digest_of_nothing(number: int, turn: int) -> str:
    return hashlib.sha256(f"{number} {turn}".encode()).hexdigest()
