"""The help of every command: complete, laid out as it was meant, and quick, because it loads
nothing that talks to anybody.
"""

import subprocess
import sys

import pytest

from tests.system.command import REPOSITORY, CommandLine

COMMANDS = [
    "sync",
    "plan",
    "runs",
    "why",
    "sources",
    "acs",
    "versions",
    "show",
    "diff",
    "export",
    "serve",
    "rollback",
    "promote",
    "delete",
    "remove",
    "protect",
    "unprotect",
    "verify",
    "prune",
    "reclaim",
    "status",
]

HEAVY = {"aiohttp", "asyncio", "psycopg", "psycopg_pool", "rich", "uvloop"}


@pytest.fixture(scope="module")
def flowsync(tmp_path_factory: pytest.TempPathFactory) -> CommandLine:
    return CommandLine(tmp_path_factory.mktemp("help"), database_url=None)


def test_help_lists_all_commands_and_keeps_the_lines_of_its_examples(flowsync: CommandLine) -> None:
    long, short = flowsync.run_all(("--help",), ("-h",))

    assert long.status == 0
    assert long.out == short.out
    assert [
        line.split()[0] for line in long.out.split("Commands:\n")[1].splitlines() if line
    ] == COMMANDS
    assert "    flowsync versions files\n    flowsync export files ./files\n" in long.out
    assert "\b" not in long.out
    assert "\\b" not in long.out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(flowsync: CommandLine, command: str) -> None:
    done = flowsync.run(command, "--help")

    assert (done.status, done.err) == (0, "")
    assert done.out.startswith(f"Usage: flowsync {command} [OPTIONS]")
    assert "\b" not in done.out
    assert not flowsync.home.exists()


def test_help_of_sync_shows_its_three_forms_and_the_installed_sources(
    flowsync: CommandLine,
) -> None:
    done = flowsync.run("sync", "--help")

    assert "\n  flowsync sync NAME...              repositories of flowsync.toml\n" in done.out
    assert "\nSources:\n  deb   An archive of Debian packages: " in done.out
    assert "\n  file  A PULP_MANIFEST: " in done.out


def test_version_is_that_of_the_package(flowsync: CommandLine) -> None:
    done = flowsync.run("--version")

    assert (done.status, done.out) == (0, "flowsync, version 0.1.0\n")


def test_help_loads_nothing_heavy() -> None:
    assert _loaded("--help") & HEAVY == set()
    assert _loaded("sync", "--help") & (HEAVY - {"asyncio", "uvloop"}) == set()


def _loaded(*arguments: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "flowsync", *arguments],
        capture_output=True,
        text=True,
        check=True,
        cwd=REPOSITORY,
    )
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}
