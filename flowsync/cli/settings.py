"""Settings: what the options, the environment and `flowsync.toml` say, in this order of precedence.

    home = "/srv/flowsync"
    database_url = "env:DATABASE_URL"

    [repositories.tools]
    source = "file"
    url = "https://example.org/tools/PULP_MANIFEST"
    mirror = true
    policy = "immediate"
    remote = { username = "mirror", password = "env:TOOLS_PASSWORD" }

A text value that begins with `env:` is taken from that environment variable, so that no secret needs to stand in the file. Relative paths are
relative to the file.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from flowsync.model.errors import DeclarationError, SettingsError
from flowsync.model.remote import Policy, Remote
from flowsync.model.repository import Repository
from flowsync.sync.engine import Engine, default_home

FILE_NAME = "flowsync.toml"


class RepositorySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A repository that `flowsync sync` keeps up. `remote` takes the fields of `flowsync.Remote` beyond name, URL and policy."""

    source: str
    url: str
    mirror: bool = False
    policy: Policy = "immediate"
    allowed_types: list[str] | None = None
    retain_versions: int | None = None
    remote: dict[str, Any] = {}


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of `flowsync.toml`."""

    home: str | None = None
    database_url: str | None = None
    hash_workers: int | None = None
    max_connections: int = 8
    allowed_roots: list[str] | None = None
    repositories: dict[str, RepositorySettings] = {}


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """The options that say where flowsync keeps its things, as given on the command line or in the environment."""

    home: str | None = None
    config: str | None = None
    database_url: str | None = None


class Configuration(msgspec.Struct, frozen=True, kw_only=True):
    """Settings and options put together; relative paths are resolved."""

    home: Path
    database_url: str | None
    settings: Settings

    def engine(self) -> Engine:
        """Return an engine with these settings, not yet open."""
        roots = self.settings.allowed_roots
        return Engine(
            self.home,
            database_url=self.database_url,
            hash_workers=self.settings.hash_workers,
            max_connections=self.settings.max_connections,
            allowed_roots=None if roots is None else [Path(root) for root in roots],
        )


def load(place: Place, environ: Mapping[str, str] = os.environ) -> Configuration:
    """Read the settings file, if there is one, and put the options over it. Raise `SettingsError` that names file and field."""
    given_home = Path(place.home) if place.home else None
    path = _find_file(place, given_home or default_home(environ))
    settings = Settings() if path is None else _read(path, environ)
    base = Path.cwd() if path is None else path.parent
    home = given_home or (base / settings.home if settings.home else default_home(environ))
    return Configuration(
        home=home.expanduser().absolute(),
        database_url=place.database_url or settings.database_url,
        settings=settings,
    )


def remote_of(name: str, repository: RepositorySettings) -> Remote:
    """Return the remote of a repository in the settings. Raise `SettingsError` when one of its fields is wrong."""
    fields = {**repository.remote, "name": name, "url": repository.url, "policy": repository.policy}
    unknown = fields.keys() - {field for field in Remote.__struct_fields__ if field[0] != "_"}
    if unknown:
        raise SettingsError(
            f"repository {name!r}: remote has no field {', '.join(sorted(unknown))}"
        )
    try:
        return msgspec.convert(fields, Remote)
    except msgspec.ValidationError as error:
        raise SettingsError(f"repository {name!r}: remote: {error}") from error


def repository_of(name: str, repository: RepositorySettings) -> Repository:
    """Return the repository value of a repository in the settings."""
    types = repository.allowed_types
    return Repository(
        name=name,
        allowed_types=None if types is None else frozenset(types),
        retain_versions=repository.retain_versions,
    )


def _find_file(place: Place, home: Path) -> Path | None:
    if place.config:
        path = Path(place.config)
        if not path.is_file():
            raise SettingsError(f"there is no settings file {path}")
        return path.absolute()
    for folder in (Path.cwd(), home):
        if (folder / FILE_NAME).is_file():
            return (folder / FILE_NAME).absolute()
    return None


def _read(path: Path, environ: Mapping[str, str]) -> Settings:
    try:
        raw = msgspec.toml.decode(path.read_bytes())
        settings = msgspec.convert(_expand(raw, environ, path), Settings)
    except msgspec.DecodeError as error:
        raise SettingsError(f"{path}: {error}") from error
    except OSError as error:
        raise SettingsError(f"cannot read the settings file {path}: {error.strerror}") from error
    for name in settings.repositories:
        try:
            Repository(name=name)
        except DeclarationError as error:
            raise SettingsError(f"{path}: {error}") from error
    return settings


def _expand(value: Any, environ: Mapping[str, str], path: Path) -> Any:
    if isinstance(value, dict):
        return {key: _expand(item, environ, path) for key, item in value.items()}
    if isinstance(value, list):
        return [_expand(item, environ, path) for item in value]
    if isinstance(value, str) and value.startswith("env:"):
        variable = value.removeprefix("env:")
        if variable not in environ:
            raise SettingsError(f"{path}: the environment variable {variable} is not set")
        return environ[variable]
    return value
