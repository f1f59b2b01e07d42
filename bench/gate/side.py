"""One side of a comparison: a tree whose benches are run with its own code, all in the environment
of whoever asks.

flowsync is pure Python, so a tree that comes first in `PYTHONPATH` is the flowsync that is
measured, in the processes that a bench starts too.
"""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import msgspec

SHARE_OPTION: Final = "--share"

_PYTEST: Final = (
    "-m",
    "pytest",
    "--quiet",
    "-p",
    "no:cacheprovider",
    "--timeout",
    "0",
    "-o",
    "faulthandler_timeout=0",
    "--benchmark-enable",
)


class _Stats(msgspec.Struct):
    min: float


class _Bench(msgspec.Struct):
    fullname: str
    stats: _Stats


class _Saved(msgspec.Struct):
    benchmarks: list[_Bench]


class Side:
    """The tree in a folder. `name` is what messages call it; `environment` is added to that of this
    process.
    """

    def __init__(self, name: str, tree: Path, environment: Mapping[str, str]) -> None:
        self.name = name
        self._tree = tree
        own = {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
        self._environment = os.environ | environment | own

    def has(self, name: str) -> bool:
        """Say whether there is such a file, or a bench by its id."""
        path, _, bench = name.partition("::")
        file = self._tree / path
        return file.is_file() and bench.partition("[")[0] in file.read_text()

    def knows_share(self) -> bool:
        """Say whether the benches of this tree can be made smaller."""
        conftest = self._tree / "bench" / "conftest.py"
        return conftest.is_file() and SHARE_OPTION in conftest.read_text()

    def minima(self, wanted: Sequence[str], share: float) -> dict[str, float]:
        """Run files of benches, or single ones by their ids, and return the least seconds of each
        bench by id.
        """
        smaller = [] if share == 1 else [SHARE_OPTION, str(share)]
        with TemporaryDirectory() as folder:
            saved = Path(folder, "saved.json")
            self._run(*_PYTEST, f"--benchmark-json={saved}", *smaller, *wanted)
            found = msgspec.json.decode(saved.read_bytes(), type=_Saved)
        return {bench.fullname: bench.stats.min for bench in found.benchmarks}

    def counts(self) -> dict[str, float]:
        """Return the deterministic counts of the tree, by name; none where it has no
        `bench.counts`.
        """
        if not self.has("bench/counts/__main__.py"):
            return {}
        with TemporaryDirectory() as folder:
            saved = Path(folder, "counts.json")
            self._run("-m", "bench.counts", "--output", str(saved))
            return msgspec.json.decode(saved.read_bytes(), type=dict[str, float])

    def _run(self, *words: str) -> None:
        run = subprocess.run(
            [sys.executable, *words],
            cwd=self._tree,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if run.returncode:
            raise RuntimeError(f"{self.name}: {' '.join(words)} failed:\n{run.stdout[-4000:]}")
