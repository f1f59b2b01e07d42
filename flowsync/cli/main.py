"""The entry point: the `flowsync` command and its sub-commands, each loaded when it is asked for,
so that `--help` is quick.
"""

import sys
from importlib import import_module

import click
import msgspec

from flowsync.cli.outcome import run_command
from flowsync.cli.output import expect_text
from flowsync.runtime import descriptors

# Where flowsync keeps its things, as the options and the environment say it. Light, because
# `--help` waits for it.


class GlobalOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The options before the name of a command; `None` leaves the choice to `flowsync.toml` and the
    defaults.
    """

    home: str | None = None
    config: str | None = None
    database_url: str | None = None


_COMMANDS = {
    "sync": "Sync repositories from their upstreams into new versions.",
    "plan": "Say what a sync would do, and change nothing.",
    "runs": "List the runs of syncs: when, how far, and how they ended.",
    "why": "Say why a version has a path or lacks it.",
    "sources": "List the kinds of source and their options.",
    "acs": "Say where else the same bytes can be had, nearer than upstream.",
    "versions": "List the versions of a repository.",
    "show": "Show what a version contains.",
    "diff": "Show the difference of two versions.",
    "export": "Write a version out as a folder of files.",
    "serve": "Serve versions over HTTP, read-only.",
    "rollback": "Make a new version that equals an old one.",
    "promote": "Make a new version that equals one of another repository.",
    "delete": "Delete a version; all others stay as they are.",
    "remove": "Remove a repository with all its versions and runs.",
    "protect": "Protect a version from deletion.",
    "unprotect": "Let a version be deleted again.",
    "verify": "Check stored bytes against their digests, and repair them.",
    "prune": "Remove what nothing needs any more.",
    "reclaim": "Free the disk space of versions that can be fetched again.",
    "status": "Show where everything is and how large it is.",
}
"""Sub-commands with their one-line help, in the order of `flowsync --help`; module
`flowsync.cli.commands.NAME` holds `command`.
"""


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command = import_module(f"flowsync.cli.commands.{cmd_name}").command
        assert isinstance(command, click.Command)
        expect_text(command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--home",
    envvar="FLOWSYNC_HOME",
    show_envvar=True,
    type=click.Path(file_okay=False, readable=False),
    help="Folder of the store and of the embedded database.",
)
@click.option(
    "--config",
    envvar="FLOWSYNC_CONFIG",
    show_envvar=True,
    type=click.Path(dir_okay=False, readable=False),
    help="Settings file; by default flowsync.toml here, or in the home.",
)
@click.option(
    "--database-url",
    envvar="FLOWSYNC_DATABASE_URL",
    show_envvar=True,
    help="PostgreSQL to use instead of the embedded one.",
)
@click.version_option(package_name="flowsync")
@click.pass_context
def cli(
    context: click.Context, home: str | None, config: str | None, database_url: str | None
) -> None:
    """Bring remote repositories into immutable, numbered versions.

    \b
    A first sync, and what came of it:
      flowsync sync file https://example.org/files/PULP_MANIFEST --repository files --mirror
      flowsync versions files
      flowsync export files ./files

    Options of a command: flowsync COMMAND --help. Exit status: 0 when all went well, 1 when
    something failed, or not all output could be written, 2 on wrong usage or settings, 3 when a
    sync went on without something that could not be fetched, or stored bytes are missing or
    damaged; 129, 130 and 143 after SIGHUP, Ctrl-C and SIGTERM.
    """  # noqa: D301 - the \b is meant: click does not wrap the paragraph behind it
    context.obj = GlobalOptions(home=home, config=config, database_url=database_url)


def main() -> None:
    """Run the command line and exit with its status."""
    descriptors.open_missing()
    descriptors.raise_limit()
    expect_text(cli)
    sys.exit(run_command(cli))
