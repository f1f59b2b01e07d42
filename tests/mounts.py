"""File systems that are mounted for a test: small ones, read-only ones, failing ones."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def mounted(folder: Path, *arguments: str) -> Iterator[Path]:
    """Mount what the arguments of `mount` say at the new `folder` while the block runs; skip the
    test where that cannot be done.
    """
    if os.geteuid() != 0:
        pytest.skip("only root can mount a file system for the test")
    folder.mkdir()
    done = subprocess.run(
        ["mount", *arguments, str(folder)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)
