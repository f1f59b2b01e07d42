"""The syncs that settings ask for: one a repository, checked before anything is opened or
fetched.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import msgspec

import flowsync
from flowsync.configuration.installed_kinds import InstalledKinds
from flowsync.configuration.kind_options import (
    first_stage,
    options_of_texts,
    read_options,
    with_paths,
)
from flowsync.configuration.settings_file import RepositorySettings, SettingsFile, expect_expanded
from flowsync.errors import DeclarationError, SettingsError
from flowsync.kinds import SourceKind
from flowsync.model.amounts import seconds_of
from flowsync.model.events import Observer
from flowsync.model.remote import Remote
from flowsync.model.reports import SyncPlan
from flowsync.model.repository import HIDDEN, ErrorPolicy, Repository, SyncResult

Overrides = Mapping[str, Sequence[str]]
NO_OVERRIDES: Final[Overrides] = MappingProxyType({})


class WantedSync(msgspec.Struct, frozen=True, kw_only=True):
    """One sync of one repository. A limit that is `None` is that of the library. `options` are
    those of the kind, if it has any. `dry_run` is what the sync must come to, if that was found
    out before.
    """

    repository: Repository
    remote: Remote
    source: SourceKind
    mirror: bool
    on_error: ErrorPolicy
    max_errors: int | None
    max_removal: float | None
    timeout: float | None = None
    options: msgspec.Struct | None = None
    dry_run: SyncPlan | None = None

    def declare(
        self,
        engine: "flowsync.Engine",
        *,
        acs: bool,
        force: bool = False,
        wait: bool = True,
        observers: Sequence[Observer] = (),
    ) -> "flowsync.DeclarativeVersion":
        """Return the sync, not yet begun, on an open engine. `acs` says whether alternate sources
        are asked for bytes, as `register_alternates` finds out; the others are as in
        `DeclarativeVersion`.
        """
        limits = {
            "max_errors": self.max_errors,
            "max_removal": self.max_removal,
            "timeout": self.timeout,
        }
        given: dict[str, Any] = {name: limit for name, limit in limits.items() if limit is not None}
        return flowsync.DeclarativeVersion(
            first_stage(self.source, self.remote, self.options),
            self.repository,
            self.mirror,
            acs,
            engine=engine,
            force=force,
            wait=wait,
            on_error=self.on_error,
            observers=observers,
            plan=self.dry_run,
            **given,
        )

    async def sync(
        self,
        engine: "flowsync.Engine",
        *,
        acs: bool,
        force: bool = False,
        wait: bool = True,
        observers: Sequence[Observer] = (),
    ) -> SyncResult:
        """Do the sync and return its figures; arguments are those of `declare`. Raise whatever it
        fails with, as `DeclarativeVersion.acreate` does.
        """
        sync = self.declare(engine, acs=acs, force=force, wait=wait, observers=observers)
        await sync.acreate()
        assert sync.result is not None
        return sync.result


class UnusableSync(msgspec.Struct, frozen=True):
    """A repository of the settings that cannot be synced as they are now, and why."""

    name: str
    reason: str


def syncs_of(
    repositories: Mapping[str, RepositorySettings],
    file: SettingsFile | None = None,
    overrides: Overrides = NO_OVERRIDES,
) -> list[WantedSync]:
    """Return the syncs of repositories, of `file` or of a command line. Raise `SettingsError` that
    names what cannot be done.

    `overrides` are options of their kinds that replace those of the settings, each as the texts
    that `--set NAME=TEXT` was given.
    """
    kinds = InstalledKinds()
    return [
        _wanted(name, settings, kinds, file, overrides) for name, settings in repositories.items()
    ]


def usable_syncs(
    repositories: Mapping[str, RepositorySettings],
    file: SettingsFile,
    overrides: Overrides = NO_OVERRIDES,
) -> list[WantedSync | UnusableSync]:
    """Return the syncs of repositories of `file`; those whose settings cannot be used stand apart,
    with the reason. `overrides` are as in `syncs_of`.

    Raise the `SettingsError` of the first when none can be used.
    """
    found: list[WantedSync | UnusableSync] = []
    errors = []
    kinds = InstalledKinds()
    for name, settings in repositories.items():
        try:
            found.append(_wanted(name, settings, kinds, file, overrides))
        except SettingsError as error:
            found.append(UnusableSync(name, str(error)))
            errors.append(error)
    if errors and len(errors) == len(found):
        raise errors[0]
    return found


def find_remote(file: SettingsFile) -> Callable[[str], Remote | None]:
    """Return what gives the remotes of the file's repositories by name: a remote is named as its
    repository is.
    """

    def find(name: str) -> Remote | None:
        known = file.repositories.get(name)
        return None if known is None else _usable_remote(name, known, f"{file.path}: ")

    return find


def check_name(name: str, where: str = "") -> None:
    """Raise `SettingsError` when a repository cannot have that name, because it would not be
    listed.
    """
    if name.startswith(HIDDEN):
        raise SettingsError(
            f"{where}a repository cannot be named {name!r}: "
            f"alternate sources have names that begin with {HIDDEN!r}"
        )


def _wanted(
    name: str,
    settings: RepositorySettings,
    kinds: InstalledKinds,
    file: SettingsFile | None,
    overrides: Overrides,
) -> WantedSync:
    where = "" if file is None else f"{file.path}: "
    check_name(name, where)
    about = f"{where}repository {name!r}"
    kept = {name: value for name, value in settings.options.items() if name not in overrides}
    expect_expanded(msgspec.to_builtins(msgspec.structs.replace(settings, options=kept)), about)
    types = settings.allowed_types
    try:
        remote = _remote(name, settings)
        source = kinds.load(settings.source)
        if file is not None:
            kept = with_paths(source, kept, file.resolved)
        return WantedSync(
            repository=Repository(
                name=name,
                allowed_types=None if types is None else frozenset(types),
                retain_versions=settings.retain_versions,
            ),
            remote=remote,
            source=source,
            mirror=settings.mirror,
            on_error=settings.on_error,
            max_errors=settings.max_errors,
            max_removal=settings.max_removal,
            timeout=None if settings.timeout is None else _seconds(settings.timeout),
            options=read_options(source, {**kept, **options_of_texts(source, overrides)}),
        )
    except (DeclarationError, SettingsError) as error:
        raise SettingsError(f"{about}: {error}") from error


def _usable_remote(name: str, settings: RepositorySettings, where: str) -> Remote:
    """Return the remote alone: bytes can be had also of a kind that is not installed any more."""
    about = f"{where}repository {name!r}"
    expect_expanded(msgspec.to_builtins(msgspec.structs.replace(settings, options={})), about)
    try:
        return _remote(name, settings)
    except SettingsError as error:
        raise SettingsError(f"{about}: {error}") from error


def _seconds(timeout: str | float) -> float:
    try:
        return seconds_of(timeout)
    except ValueError as error:
        raise SettingsError(f"timeout: {error}") from error


def _remote(name: str, settings: RepositorySettings) -> Remote:
    fields: dict[str, Any] = {
        **settings.remote,
        "name": name,
        "url": settings.url,
        "policy": settings.policy,
    }
    try:
        return msgspec.convert(fields, Remote)
    except msgspec.ValidationError as error:
        # What the remote itself objects to comes wrapped.
        raise SettingsError(f"{error.__cause__ or error}") from error
