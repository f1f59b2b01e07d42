"""What overrides, the environment and `flowsync.toml` say together, in this order of precedence.

Also here: the remotes of alternate sources.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

import flowsync
from flowsync import library
from flowsync.configuration.kind_options import first_stage, read_options, with_paths
from flowsync.configuration.settings_file import (
    ServeSettings,
    SettingsFile,
    expect_expanded,
    read_settings_file,
)
from flowsync.configuration.wanted_syncs import (
    NO_OVERRIDES,
    Overrides,
    UnusableSync,
    WantedSync,
    check_name,
    usable_syncs,
)
from flowsync.engine.home import absolute, default_home
from flowsync.errors import SettingsError
from flowsync.kinds import SourceKind
from flowsync.model.events import Observer
from flowsync.model.remote import Remote
from flowsync.pipeline.stage import Stage

FILE_NAME: Final = "flowsync.toml"


class Configuration(msgspec.Struct, frozen=True, kw_only=True):
    """Settings put together. `home` is absolute; without a `database_url`, the database is the
    embedded one in the home.
    """

    home: Path
    database_url: str | None
    file: SettingsFile

    def engine(
        self,
        workers: int | None = None,
        *,
        spends_reserve: bool = False,
        observers: Sequence[Observer] = (),
    ) -> "flowsync.Engine":
        """Return an engine with these settings, not yet open.

        `workers` replaces that of the file, unless it is `None`. `spends_reserve` and `observers`
        are as in `Engine`.
        """
        settings = self.file.settings
        roots = settings.allowed_roots
        limits: dict[str, Any] = {
            "workers": settings.workers if workers is None else workers,
            "in_flight_bytes": settings.in_flight_bytes,
            "in_flight_items": settings.in_flight_items,
            "syncs_at_once": settings.syncs_at_once,
        }
        return flowsync.Engine(
            self.home,
            database_url=self.database_url,
            hash_workers=settings.hash_workers,
            max_connections=settings.max_connections,
            allowed_roots=None if roots is None else [self.file.resolved(root) for root in roots],
            observers=observers,
            spends_reserve=spends_reserve,
            **{name: limit for name, limit in limits.items() if limit is not None},
        )

    def serve(self, bind: str | None = None) -> ServeSettings:
        """Return how versions are served. `bind` replaces that of the file, unless it is `None`.
        Raise `SettingsError` when an environment variable that is needed is not set.
        """
        settings = self.file.settings.serve
        if bind is not None:
            settings = msgspec.structs.replace(settings, bind=bind)
        expect_expanded([settings.bind, settings.url], f"{self.file.path}: serve")
        return settings

    def wanted_syncs(
        self, names: Sequence[str] = (), overrides: Overrides = NO_OVERRIDES
    ) -> list[WantedSync | UnusableSync]:
        """Return the syncs of the repositories of the file: those of `names` in that order, or
        without any, all. Repositories whose settings cannot be used stand apart, with the reason.
        `overrides` are as in `syncs_of`.

        Raise `SettingsError` for a name that the file has not, or when none can be used.
        """
        known = self.file.repositories
        for name in known:
            check_name(name, f"{self.file.path}: ")
        if names:
            unknown = [name for name in names if name not in known]
            if unknown:
                raise SettingsError(
                    f"there is no repository {unknown[0]!r} in {self.file.path or FILE_NAME}; "
                    f"it has: {', '.join(known) or 'none'}"
                )
            known = {name: known[name] for name in names}
        return usable_syncs(known, self.file, overrides)


def read_configuration(
    *,
    home: str | os.PathLike[str] | None = None,
    config: str | os.PathLike[str] | None = None,
    database_url: str | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Configuration:
    """Read the settings file, if there is one, and put the arguments over it.

    An argument that is `None` is that of the environment: `FLOWSYNC_HOME`, `FLOWSYNC_CONFIG`,
    `FLOWSYNC_DATABASE_URL`. The file is the one that `config` names, or else `flowsync.toml` in
    the working directory or in the home. A variable that is empty counts as one that is not set;
    an argument or a setting that is empty is an error. Raise `SettingsError` that names file and
    field.
    """
    home = environ.get("FLOWSYNC_HOME") or None if home is None else home
    config = environ.get("FLOWSYNC_CONFIG") or None if config is None else config
    if database_url is None:
        database_url = environ.get("FLOWSYNC_DATABASE_URL") or None
    if database_url == "":
        raise SettingsError("the database URL is empty; leave it out for the embedded database")
    given_home = None if home is None else absolute(os.path.expanduser(home), "home")
    path = _found_file(given_home, environ) if config is None else _named_file(config)
    file = SettingsFile() if path is None else read_settings_file(path, environ)
    named_home, named_url = file.settings.home, file.settings.database_url
    expect_expanded(file.settings.allowed_roots, f"{path}")
    if given_home is None and named_home is not None:
        expect_expanded(named_home, f"{path}")
        given_home = file.resolved(named_home)
    if database_url is None:
        expect_expanded(named_url, f"{path}")
        if named_url == "":
            raise SettingsError(f"{path}: database_url is empty")
    return Configuration(
        home=given_home or default_home(environ),
        database_url=database_url or named_url,
        file=file,
    )


def _named_file(config: str | os.PathLike[str]) -> Path:
    path = absolute(os.path.expanduser(config), "settings file")
    if not os.path.isfile(path):
        raise SettingsError(f"there is no settings file {path}")
    return path


def _found_file(given_home: Path | None, environ: Mapping[str, str]) -> Path | None:
    # Relative, so that a working directory that was removed has no file, and is no error.
    if os.path.isfile(FILE_NAME):
        return absolute(FILE_NAME, "settings file")
    at_home = (given_home or default_home(environ)) / FILE_NAME
    return at_home if os.path.isfile(at_home) else None


# The remotes of alternate sources, put together from the catalog and the settings file.
#
# The catalog knows where they are and keeps no secret; `[alternate_sources.NAME]` of the file adds
# how to talk to them. A source that the file does not mention is talked to as it is recorded.


async def register_alternates(engine: "flowsync.Engine", file: SettingsFile) -> bool:
    """Let an open engine use the alternate sources of its catalog as the file describes them, and
    say whether there are any. Raise `SettingsError` when the file describes one that cannot be.
    """
    sources = await library.alternate_sources(engine)
    for source in sources:
        if source.name in file.alternate_sources:
            remote = described_remote(file, source.name, source.remote_name, source.url)
            engine.alternate_remotes[source.remote_name] = remote
    return bool(sources)


def described_remote(file: SettingsFile, name: str, called: str, url: str) -> Remote:
    """Return the remote of source `name` at `url`, itself `called` so. Raise `SettingsError` when
    the file describes one that cannot be.
    """
    about = _about(file, name)
    described = file.alternate_sources.get(name)
    given: dict[str, Any] = {} if described is None else described.remote
    expect_expanded(given, about)
    fields = {**given, "name": called, "url": url, "policy": "on_demand"}
    try:
        return msgspec.convert(fields, Remote)
    except msgspec.ValidationError as error:
        # What the remote itself objects to comes wrapped.
        raise SettingsError(f"{about}: {error.__cause__ or error}") from error


def alternate_first_stage(
    file: SettingsFile, name: str, kind: SourceKind
) -> Callable[[Remote], Stage]:
    """Return what makes the first stages of source `name`, which is of that kind, with the options
    that the file has for it. Raise `SettingsError` when these cannot be.
    """
    about = _about(file, name)
    described = file.alternate_sources.get(name)
    given: dict[str, Any] = {} if described is None else described.options
    expect_expanded(given, about)
    try:
        options = read_options(kind, with_paths(kind, given, file.resolved))
    except SettingsError as error:
        raise SettingsError(f"{about}: {error}") from error
    return lambda remote: first_stage(kind, remote, options)


def _about(file: SettingsFile, name: str) -> str:
    return f"{'' if file.path is None else f'{file.path}: '}alternate source {name!r}"
