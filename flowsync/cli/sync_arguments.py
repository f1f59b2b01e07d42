"""What a command line asks to have synced or planned: the arguments that `flowsync sync` and
`flowsync plan` share.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import click

from flowsync.cli.output import one_line
from flowsync.configuration import (
    Configuration,
    InstalledKinds,
    RepositorySettings,
    UnusableSync,
    WantedSync,
    syncs_of,
)
from flowsync.model.amounts import parse_duration, parse_rate
from flowsync.model.remote import Policy
from flowsync.model.repository import ErrorPolicy

F = TypeVar("F", bound=Callable[..., Any])


class SourcesCommand(click.Command):
    """Lists the installed sources below its help."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Sources"):
            formatter.write_dl(_summaries())


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
                help="What a file that cannot be fetched means: fail (the default), "
                "or go on without it.",
            ),
            click.option(
                "--max-removal",
                type=Share(),
                help="Share of its units that a mirror of more than 100 may lose at once; "
                "0.5 unless set. Only with 1 does any mirror lose all of them.",
            ),
            click.option(
                "--set",
                "overrides",
                multiple=True,
                metavar="NAME=VALUE",
                callback=_as_overrides,
                help="An option of SOURCE, in place of that in flowsync.toml; may be repeated, "
                "also "
                "for each item of a list. `flowsync sources SOURCE` lists them.",
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


def asked_syncs(
    configuration: Configuration,
    target: tuple[str, ...],
    *,
    repository: str | None,
    mirror: bool,
    policy: Policy | None,
    on_error: ErrorPolicy | None,
    overrides: Mapping[str, Sequence[str]],
) -> list[WantedSync | UnusableSync]:
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
        return [*_described(repository, settings, overrides)]
    if repository or mirror or policy or on_error:
        raise click.UsageError(
            f"--repository, --mirror, --policy and --on-error need SOURCE and URL{_found(target)}"
        )
    return _configured(configuration, target, overrides)


def _found(target: tuple[str, ...]) -> str:
    return f"; {target[1]!r} is no URL such as https://example.org/" if len(target) == 2 else ""


def _described(
    repository: str | None, settings: RepositorySettings, overrides: Mapping[str, Sequence[str]]
) -> list[WantedSync]:
    kinds = InstalledKinds()
    if settings.source not in kinds.names:
        raise click.UsageError(
            f"there is no source {settings.source!r}; installed are: {', '.join(kinds.names)}"
        )
    if repository is None:
        raise click.UsageError("say which repository to sync into: --repository NAME")
    return syncs_of({repository: settings}, overrides=overrides)


def _configured(
    configuration: Configuration,
    target: tuple[str, ...],
    overrides: Mapping[str, Sequence[str]],
) -> list[WantedSync | UnusableSync]:
    known = configuration.file.repositories
    for name in target:
        if name not in known:
            raise click.UsageError(_unknown(name, target, known))
    if not target and not known:
        raise click.UsageError(
            "no repositories in flowsync.toml; name one: flowsync sync file URL --repository NAME"
        )
    return configuration.wanted_syncs(target, overrides)


def _unknown(name: str, target: tuple[str, ...], known: Iterable[str]) -> str:
    if name == target[0] and name in InstalledKinds().names:
        return (
            f"source {name!r} needs a URL: "
            f"flowsync sync {name} URL --repository NAME{_found(target)}"
        )
    return f"there is no repository {name!r} in flowsync.toml; it has: {', '.join(known) or 'none'}"


def _as_overrides(
    _context: click.Context, _parameter: click.Parameter, words: tuple[str, ...]
) -> dict[str, list[str]]:
    """Return the words NAME=VALUE as the values of each name."""
    found: dict[str, list[str]] = {}
    for word in words:
        name, separator, value = word.partition("=")
        if not name or not separator:
            raise click.BadParameter(f"{word!r} is not NAME=VALUE")
        found.setdefault(name, []).append(value)
    return found


def _summaries() -> list[tuple[str, str]]:
    """Return the names of all kinds, each with a line about it."""
    kinds = InstalledKinds()
    about = {name: kind.summary for name, kind in kinds.usable.items()} | kinds.unusable
    return [(name, one_line(text)) for name, text in sorted(about.items())]


# Durations and rates as types of click's options.


class Share(click.FloatRange):
    """A share: a number from 0 to 1."""

    def __init__(self) -> None:
        super().__init__(0, 1)

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the share. Fail with a usage error for any other number, and for NaN, which is
        neither below 0 nor above 1.
        """
        share = float(super().convert(value, param, ctx))
        if math.isnan(share):
            self.fail(f"{value!r} is no share from 0 to 1", param, ctx)
        return share


class Duration(click.ParamType[timedelta]):
    """A span of time: a number of seconds, or one with s, m, h, d or w."""

    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> timedelta:
        """Return the span. Fail with a usage error that shows how one is written."""
        if isinstance(value, timedelta):
            return value
        seconds = parse_duration(str(value))
        if seconds is None:
            self.fail(f"{value!r} is no duration such as 30m, 24h or 7d", param, ctx)
        return timedelta(seconds=seconds)


class Rate(click.ParamType[float]):
    """Bytes a second: a number, or one with a decimal (kB, MB) or binary (KiB, MiB) unit."""

    name = "rate"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the bytes a second. Fail with a usage error that shows how they are written."""
        rate = parse_rate(str(value))
        if rate is None:
            self.fail(f"{value!r} is no rate such as 500kB/s, 50MB/s or 100MiB/s", param, ctx)
        return rate
