"""Ways in which a disk betrays: each changes one blob of a store behind flowsync's back."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

Damage = Callable[[Path], None]


def flip(blob: Path) -> None:
    """Flip one bit in the middle, in place: size, inode and time of change stay what they were."""
    state = blob.stat()
    body = bytearray(blob.read_bytes())
    body[len(body) // 2] ^= 1
    _overwrite(blob, bytes(body))
    os.utime(blob, ns=(state.st_atime_ns, state.st_mtime_ns))


def truncate(blob: Path) -> None:
    _overwrite(blob, blob.read_bytes()[:-1])


def grow(blob: Path) -> None:
    _overwrite(blob, blob.read_bytes() + b"\0")


def make_unreadable(blob: Path) -> None:
    """Put a folder in its place, which nobody can read as a file, whoever he is."""
    blob.unlink()
    blob.mkdir()
    (blob / "inside").touch()


def loop(blob: Path) -> None:
    """Put a symbolic link to itself in its place."""
    blob.unlink()
    blob.symlink_to(blob)


def remove(blob: Path) -> None:
    blob.unlink()


def remove_shelf(blob: Path) -> None:
    """Remove the whole folder in which the blob stands."""
    shutil.rmtree(blob.parent)


def _overwrite(blob: Path, body: bytes) -> None:
    blob.chmod(0o644)
    blob.write_bytes(body)
    blob.chmod(0o444)
