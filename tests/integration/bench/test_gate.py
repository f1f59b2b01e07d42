"""The gate on a repository of its own, with benches of about a millisecond, whose second revision
is what the test wants.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    shutil.which("git") is None, reason="git, whose revisions are compared, is not installed"
)

ROOT = Path(__file__).parents[3]

PYPROJECT = """
[tool.pytest.ini_options]
python_files = ["bench_*.py"]
python_functions = ["bench_*"]
addopts = ["--import-mode=importlib", "--benchmark-disable"]
"""

BENCH = """
def work(turns):
    return sum(number * number for number in range(turns))

def bench_sum(benchmark):
    benchmark.pedantic(work, ({turns},), rounds=60)

def bench_steady(benchmark):
    benchmark.pedantic(work, (20_000,), rounds=60)

def bench_{other}(benchmark):
    benchmark.pedantic(work, (20_000,), rounds=60)
"""

COUNTS = """
import json, sys
with open(sys.argv[2], "w") as file:
    json.dump({counts}, file)
"""


class Project:
    """A git repository with benches."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.git("init", "--quiet")
        self.write("pyproject.toml", PYPROJECT)

    def git(self, *words: str) -> str:
        identity = ["-c", "user.name=me", "-c", "user.email=me@example.org"]
        run = ["git", "-C", str(self.folder), *identity, *words]
        return subprocess.run(run, check=True, capture_output=True, text=True).stdout

    def write(self, path: str, text: str) -> None:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def commit(self, *, turns: int = 20_000, other: str = "old", counts: dict[str, int]) -> None:
        """Make a revision whose sums take so many turns."""
        self.write("bench/model/bench_sum.py", BENCH.format(turns=turns, other=other))
        self.write("bench/counts/__main__.py", COUNTS.format(counts=counts))
        self.git("add", ".")
        self.git("commit", "--quiet", "--message", "one more")

    def gate(self, *, again: int) -> subprocess.CompletedProcess[str]:
        """Compare the tree with the revision before; a suspect is measured again so many times."""
        how = ["--rounds", "1", "--again", str(again), "--files", "bench/model/bench_sum.py"]
        environment = {
            **{name: value for name, value in os.environ.items() if "PYTEST" not in name},
            "PYTHONPATH": str(ROOT),
            # Only the plugins that the gate needs: each run is a process.
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PYTEST_ADDOPTS": "-p pytest_benchmark.plugin -p pytest_timeout",
            # Nothing here wants a server; one that is named is not started.
            "FLOWSYNC_TEST_DATABASE_URL": "postgresql://nowhere.invalid/",
        }
        run = [sys.executable, "-m", "bench.gate", "HEAD~1", *how]
        return subprocess.run(
            run, cwd=self.folder, env=environment, capture_output=True, text=True, check=False
        )


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_gate_passes_what_did_not_become_worse(project: Project) -> None:
    project.commit(turns=40_000, counts={"statements": 100, "bytes": 100})
    project.commit(turns=20_000, counts={"statements": 101, "bytes": 50})

    found = project.gate(again=6)

    assert found.returncode == 0, found.stdout + found.stderr
    assert "counts: 2 compared, 0 worse" in found.stdout
    assert "seconds: 3 compared, 0 worse" in found.stdout


def test_gate_catches_a_planted_slowdown_and_a_count_and_leaves_no_trace(project: Project) -> None:
    project.commit(counts={"statements": 100, "bytes": 100})
    project.commit(turns=80_000, other="new", counts={"statements": 103, "bytes": 100})

    found = project.gate(again=1)

    assert found.returncode == 1, found.stdout + found.stderr
    assert "counts: 2 compared, 1 worse" in found.stdout
    assert "statements WORSE" in found.stdout
    assert "bench_sum.py::bench_sum WORSE" in found.stdout
    assert "only in base, not compared: bench/model/bench_sum.py::bench_old" in found.stdout
    assert "only in this tree, not compared: bench/model/bench_sum.py::bench_new" in found.stdout
    assert project.git("worktree", "list").count("\n") == 1
