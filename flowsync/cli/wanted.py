"""What a command line asks to have synced or planned: the arguments that `flowsync sync` and
`flowsync plan` share.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from flowsync.cli.kinds import kind_names, summaries
from flowsync.cli.plans import Unusable, WantedSync, check_name, plans, usable_plans
from flowsync.cli.settings_file import RepositorySettings, SettingsFile
from flowsync.model.remote import Policy
from flowsync.model.repository import ErrorPolicy

F = TypeVar("F", bound=Callable[..., Any])


class SourcesCommand(click.Command):
    """Lists the installed sources below its help."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Sources"):
            formatter.write_dl(summaries())


def sync_arguments(function: F) -> F:
    """Give a command the arguments that say what to sync, and how."""
    for decorate in reversed(
        (
            click.argument("target", nargs=-1, metavar="[SOURCE URL | NAME...]"),
            click.option(
                "-r", "--repository", help="The repository to sync into; made on its first sync."
            ),
            click.option("--mirror", is_flag=True, help="Remove what upstream no longer has."),
            click.option(
                "--policy",
                type=click.Choice(["immediate", "on_demand", "streamed"]),
                help="Fetch the bytes now (the default), or only record where they are.",
            ),
            click.option(
                "--on-error",
                type=click.Choice(["fail", "skip", "defer"]),
                help="What a file that cannot be fetched means: fail (the default), or go on without it.",
            ),
            click.option(
                "--max-removal",
                type=click.FloatRange(0, 1),
                help="Share of its units that a mirror of more than 100 may lose at once; "
                "0.5 unless set. Only with 1 does any mirror lose all of them.",
            ),
            click.option(
                "--force", is_flag=True, help="Sync although upstream's metadata is unchanged."
            ),
        )
    ):
        function = decorate(function)
    return function


def is_described(target: tuple[str, ...]) -> bool:
    """Say whether the words are SOURCE and URL; otherwise all are names of the settings."""
    return len(target) > 1 and "://" in target[1]


def wanted_plans(
    file: SettingsFile,
    target: tuple[str, ...],
    *,
    repository: str | None,
    mirror: bool,
    policy: Policy | None,
    on_error: ErrorPolicy | None,
) -> list[WantedSync | Unusable]:
    """Return what is to be synced, and which of it cannot be. Raise a usage error when the
    arguments contradict each other.
    """
    if is_described(target):
        if len(target) > 2:
            raise click.UsageError(f"expected SOURCE URL, found {len(target)} arguments")
        settings = RepositorySettings(
            source=target[0],
            url=target[1],
            mirror=mirror,
            policy=policy or "immediate",
            on_error=on_error or "fail",
        )
        return [*_described(repository, settings)]
    if repository or mirror or policy or on_error:
        raise click.UsageError(
            f"--repository, --mirror, --policy and --on-error need SOURCE and URL{_found(target)}"
        )
    return _configured(file, target)


def _found(target: tuple[str, ...]) -> str:
    return f"; {target[1]!r} is no URL such as https://example.org/" if len(target) == 2 else ""


def _described(repository: str | None, settings: RepositorySettings) -> list[WantedSync]:
    if settings.source not in kind_names():
        raise click.UsageError(
            f"there is no source {settings.source!r}; installed are: {', '.join(kind_names())}"
        )
    if repository is None:
        raise click.UsageError("say which repository to sync into: --repository NAME")
    return plans({repository: settings})


def _configured(file: SettingsFile, target: tuple[str, ...]) -> list[WantedSync | Unusable]:
    known = file.repositories
    for name in known:
        check_name(name, f"{file.path}: ")
    if target:
        known = {name: _find(name, target, file) for name in target}
    elif not known:
        raise click.UsageError(
            "no repositories in flowsync.toml; name one: flowsync sync file URL --repository NAME"
        )
    return usable_plans(known, file)


def _find(name: str, target: tuple[str, ...], file: SettingsFile) -> RepositorySettings:
    if name in file.repositories:
        return file.repositories[name]
    if name in kind_names() and name == target[0]:
        raise click.UsageError(
            f"source {name!r} needs a URL: flowsync sync {name} URL --repository NAME{_found(target)}"
        )
    known = ", ".join(file.repositories) or "none"
    raise click.UsageError(f"there is no repository {name!r} in flowsync.toml; it has: {known}")
