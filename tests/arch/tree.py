"""The source files as syntax trees, for the tests that hold the house to its plan."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]


def modules(*folders: str) -> Iterator[tuple[Path, ast.Module]]:
    """Yield every module below the folders: its path from the root of the repository, and
    its tree.
    """
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield path.relative_to(ROOT), ast.parse(path.read_bytes(), path)
