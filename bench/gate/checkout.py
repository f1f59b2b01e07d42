"""A revision checked out beside the tree, in a temporary folder, for as long as it is needed."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory


@contextmanager
def checked_out(repository: Path, revision: str) -> Iterator[Path]:
    """Give a folder with the files of a revision. Raise `RuntimeError` with git's words when there
    is no such revision.
    """
    with TemporaryDirectory(prefix="flowsync-gate-") as scratch:
        tree = Path(scratch, "base")
        _git(repository, "worktree", "add", "--quiet", "--detach", str(tree), revision)
        try:
            yield tree
        finally:
            _git(repository, "worktree", "remove", "--force", str(tree))


def top_of(folder: Path) -> Path:
    """Return the root of the git tree that the folder is in."""
    return Path(_git(folder, "rev-parse", "--show-toplevel").strip())


def _git(folder: Path, *words: str) -> str:
    run = subprocess.run(
        ["git", "-C", str(folder), *words], capture_output=True, text=True, check=False
    )
    if run.returncode:
        raise RuntimeError(f"git {' '.join(words)}: {run.stderr.strip()}")
    return run.stdout
