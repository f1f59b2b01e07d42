"""Commands of all tests are forked from one warm interpreter."""

import os
from pathlib import Path

import pytest

from tests.system.command import CommandLine

pytestmark = pytest.mark.skipif(
    "FLOWSYNC_TEST_FRESH" in os.environ, reason="every command shall start afresh"
)


def test_commands_of_every_test_are_forked_from_one_interpreter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only those of one test were: the name of the test is a variable too."""
    interpreters = []
    for name in ("one", "another"):
        monkeypatch.setenv("PYTEST_CURRENT_TEST", f"{name} (call)")
        interpreters.append(CommandLine(tmp_path, database_url=None).warm_interpreter())

    assert interpreters[0] is interpreters[1] is not None


def test_a_variable_that_an_interpreter_reads_as_it_starts_has_one_of_its_own(
    tmp_path: Path,
) -> None:
    plain, other = (CommandLine(tmp_path, database_url=None) for _ in range(2))
    other.environment["PYTHONMALLOC"] = "malloc"

    assert plain.warm_interpreter() is not None
    assert other.warm_interpreter() is None
