"""A program of someone else is checked against what flowsync says of its types."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mypy", reason="the checkers are no part of the group `test`")

PROGRAM = Path(__file__).with_name("public_api.py")


def checked(program: Path) -> subprocess.CompletedProcess[str]:
    """Run mypy as the author of a program does: away from this repository and its settings."""
    words = ["--strict", "--config-file=", f"--cache-dir={program.parent}/cache", program.name]
    return subprocess.run(
        [sys.executable, "-m", "mypy", *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=program.parent,
    )


@pytest.mark.timeout(240)
def test_a_program_that_uses_what_is_public_is_checked_without_an_error(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    shutil.copy(PROGRAM, program)

    said = checked(program)

    assert (said.returncode, said.stdout.strip()) == (
        0,
        "Success: no issues found in 1 source file",
    )


@pytest.mark.timeout(240)
def test_a_program_that_takes_an_int_for_a_version_is_told(tmp_path: Path) -> None:
    """So the check above looks into flowsync, and does not take all of it for `Any`."""
    program = tmp_path / "program.py"
    program.write_text(
        "from flowsync import Engine, library\n"
        "async def last(engine: Engine) -> int:\n"
        "    return await library.version(engine, 'r')\n"
    )

    said = checked(program)

    assert said.returncode == 1
    assert 'got "RepositoryVersion", expected "int"' in said.stdout
