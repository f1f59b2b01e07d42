"""Packages with kinds of source, installed for one test."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Install = Callable[[str, str], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put a package beside the installed ones whose module is `program`, and which brings the kind
    of that name.
    """
    packages = tmp_path / "packages"
    packages.mkdir()
    monkeypatch.syspath_prepend(packages)

    def put(kind: str, program: str) -> None:
        information = packages / f"{kind}_of_a_test-1.0.dist-info"
        information.mkdir()
        (packages / f"{kind}_of_a_test.py").write_text(program)
        (information / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {kind}-of-a-test\nVersion: 1.0\n"
        )
        (information / "entry_points.txt").write_text(
            f"[flowsync.sources]\n{kind} = {kind}_of_a_test:SOURCE\n"
        )
        monkeypatch.delitem(sys.modules, f"{kind}_of_a_test", raising=False)

    return put
