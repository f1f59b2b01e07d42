"""The files of the repository, for the tests that hold the house to its plan."""

import ast
import gc
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]


def modules(*folders: str) -> Iterator[tuple[Path, ast.Module]]:
    """Yield every module below the folders: its path from the root of the repository, and
    its tree.
    """
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield path.relative_to(ROOT), _tree(path)


@cache
def _tree(path: Path) -> ast.Module:
    # What garbage collection ends may set the limit of recursion back (Hypothesis does), and the
    # parser of Python 3.11 gives up when that changes under it.
    gc.disable()
    try:
        return ast.parse(path.read_bytes(), path)
    finally:
        gc.enable()


@cache
def texts() -> dict[str, str]:
    """Return every file that people write, by its path from the root of the repository. Where
    there is no git, in an archive, those are the files of the known folders.
    """
    kinds = (".md", ".py", ".pyi", ".sh", ".sql", ".toml", ".yaml", "Makefile", ".ci/run")
    return {
        path: (ROOT / path).read_text(encoding="utf-8")
        for path in _paths()
        if path.endswith(kinds) and (ROOT / path).is_file()
    }


def _paths() -> list[str]:
    try:
        listed = subprocess.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT,
        )
    except (OSError, subprocess.CalledProcessError):
        known = [ROOT / name for name in ("bench", "docs", "flowsync", "scripts", "tests")]
        found = [*ROOT.glob("*"), *(path for folder in known for path in folder.rglob("*"))]
        return sorted(str(path.relative_to(ROOT)) for path in found)
    return listed.stdout.splitlines()
