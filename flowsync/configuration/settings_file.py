"""The settings file, `flowsync.toml`.

    home = "/srv/flowsync"
    database_url = "env:DATABASE_URL"

    [repositories.tools]
    source = "file"
    url = "https://example.org/tools/PULP_MANIFEST"
    mirror = true
    policy = "immediate"
    timeout = "4h"
    remote = { username = "mirror", password = "env:TOOLS_PASSWORD" }

    [alternate_sources.near]
    remote = { token = "env:NEAR_TOKEN" }

    [serve]
    bind = ":8080"

1. A text value that begins with `env:` is taken from that environment variable, so that no secret
   needs to stand in the file. A variable that is not set is an error where its value is needed: a
   command that only looks at versions needs no password of an upstream.
2. Relative paths are relative to the file.
3. Every field is checked when the file is read, also of repositories that are not asked for. Errors
   name file, repository and field.
4. `options` of a repository are those of its kind. Only for them is the kind loaded.
"""

import codecs
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import msgspec

from flowsync.configuration.installed_kinds import InstalledKinds
from flowsync.configuration.kind_options import check_options
from flowsync.engine.home import absolute
from flowsync.errors import SettingsError
from flowsync.model.amounts import seconds_of
from flowsync.model.measures import (
    LARGEST,
    LARGEST_RATE,
    MOST_CONNECTIONS,
    MOST_WORKERS,
)
from flowsync.model.remote import Policy, Remote
from flowsync.model.repository import ErrorPolicy
from flowsync.model.url import holds_user, origin, redact

# The tables of a settings file, with their fields.

FROM_ENVIRONMENT: Final = "env:"
"""How a text begins that is taken from an environment variable."""

AtLeastOne = Annotated[int, msgspec.Meta(ge=1, le=LARGEST)]
Bytes = Annotated[int, msgspec.Meta(ge=1, le=LARGEST_RATE)]
Connections = Annotated[int, msgspec.Meta(ge=1, le=MOST_CONNECTIONS)]
Count = Annotated[int, msgspec.Meta(ge=0, le=LARGEST)]
Hashers = Annotated[int, msgspec.Meta(ge=1, le=MOST_WORKERS)]
Workers = Annotated[int, msgspec.Meta(ge=0, le=MOST_WORKERS)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


class RepositorySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A repository that `flowsync sync` keeps up, with the choices of
    `flowsync.DeclarativeVersion`.

    `remote` takes the fields of `flowsync.Remote` beyond name, URL and policy. A limit that is
    `None` is that of the library. `timeout` is a number of seconds or a duration such as "4h".
    `options` are those of the kind.
    """

    source: str
    url: str
    mirror: bool = False
    policy: Policy = "immediate"
    on_error: ErrorPolicy = "fail"
    max_errors: Count | None = None
    max_removal: Share | None = None
    timeout: str | float | None = None
    allowed_types: list[str] | None = None
    retain_versions: Annotated[int, msgspec.Meta(ge=1)] | None = None
    remote: dict[str, Any] = {}
    options: dict[str, Any] = {}

    def __post_init__(self) -> None:
        _check_duration("timeout", self.timeout)


class DefaultSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What repositories have unless they say otherwise."""

    timeout: str | float | None = None

    def __post_init__(self) -> None:
        _check_duration("timeout", self.timeout)


class AlternateSourceSettings(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True
):
    """What the catalog does not keep of an alternate source: how to talk to its remote, credentials
    included, and the options of its kind.
    """

    remote: dict[str, Any] = {}
    options: dict[str, Any] = {}


class ServeSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How versions are served: where to listen unless `--bind` says it, and what clients call the
    server, which pages that hold addresses need behind a proxy.
    """

    bind: str | None = None
    url: str | None = None

    def __post_init__(self) -> None:
        if self.url is not None and not self.url.startswith(FROM_ENVIRONMENT):
            _check_own_url(self.url)


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the file says besides its repositories and alternate sources.

    Of `workers`, of the limits on what is in flight and on how many repositories are synced at a
    time, `None` is what the library takes.
    """

    home: str | None = None
    database_url: str | None = None
    hash_workers: Hashers | None = None
    workers: Workers | None = None
    max_connections: Connections = 8
    syncs_at_once: AtLeastOne | None = None
    in_flight_bytes: Bytes | None = None
    in_flight_items: AtLeastOne | None = None
    allowed_roots: list[str] | None = None
    defaults: DefaultSettings = msgspec.field(default_factory=DefaultSettings)
    serve: ServeSettings = msgspec.field(default_factory=ServeSettings)


def _check_duration(field: str, value: str | float | None) -> None:
    if value is None or (isinstance(value, str) and value.startswith(FROM_ENVIRONMENT)):
        return
    try:
        seconds_of(value)
    except ValueError as error:
        raise ValueError(f"{field}: {error}") from error


def _check_own_url(url: str) -> None:
    try:
        leads_to = origin(url)
    except ValueError as error:
        raise ValueError(f"url: {redact(url)!r} is malformed: {error}") from None
    strange = not url.isascii() or not url.isprintable() or any(sign in url for sign in " ?#")
    if leads_to[0] not in {"http", "https"} or holds_user(url) or strange:
        raise ValueError(
            f"url: must be what clients call the server, such as https://mirror.example.org/, "
            f"found {redact(url)!r}"
        )


T = TypeVar("T")

_PEM: Final = "-----BEGIN"

_REMOTE_FIELDS: Final = frozenset(
    field for field in Remote.__struct_fields__ if not field.startswith("_")
) - {"name", "url", "policy"}
_REMOTE_FILES: Final = ("ca_cert", "client_cert", "client_key")

Table = TypeVar("Table", RepositorySettings, AlternateSourceSettings)


class SettingsFile(msgspec.Struct, frozen=True, kw_only=True):
    """A settings file that was read. `path` is `None` when there is none."""

    path: Path | None = None
    settings: Settings = msgspec.field(default_factory=Settings)
    repositories: dict[str, RepositorySettings] = {}
    alternate_sources: dict[str, AlternateSourceSettings] = {}

    def resolved(self, path: str) -> Path:
        """Return a path of the file as an absolute one. Raise `SettingsError` for an empty one."""
        if not path:
            raise SettingsError(
                f"{self.path}: a path in it is empty; for its own folder, name it: ."
            )
        folder = Path() if self.path is None else self.path.parent
        return absolute(folder / os.path.expanduser(path), "path")


def read_settings_file(path: Path, environ: Mapping[str, str]) -> SettingsFile:
    """Read the file at an absolute path. Raise `SettingsError` when it cannot be read or
    understood.
    """
    try:
        raw = _expand(msgspec.toml.decode(_text(path)), environ)
    except OSError as error:
        raise SettingsError(f"cannot read the settings file {path}: {error.strerror}") from error
    except (msgspec.DecodeError, SettingsError) as error:
        raise SettingsError(f"{path}: {error}") from error
    tables = dict[str, dict[str, Any]]
    repositories = _convert(raw.pop("repositories", {}), tables, f"{path}")
    alternates = _convert(raw.pop("alternate_sources", {}), tables, f"{path}")
    settings = _convert(raw, Settings, f"{path}")
    defaults = raw.get("defaults", {})
    kinds = InstalledKinds()
    return SettingsFile(
        path=path,
        settings=settings,
        repositories={
            name: _repository({**defaults, **fields}, kinds, path, f"{path}: repository {name!r}")
            for name, fields in repositories.items()
        },
        alternate_sources={
            name: _table(
                fields, AlternateSourceSettings, path, f"{path}: alternate source {name!r}"
            )
            for name, fields in alternates.items()
        },
    )


def _text(path: Path) -> str:
    """Return the text of the file, which may begin with a byte-order mark, as some editors write
    one.
    """
    content = path.read_bytes()
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise SettingsError("it is UTF-16 text; it must be UTF-8")
    try:
        return content.removeprefix(codecs.BOM_UTF8).decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise SettingsError(f"line {line} is not UTF-8 text") from error


def expect_expanded(value: object, where: str) -> None:
    """Raise `SettingsError` when a text in `value` waits for an environment variable that is not
    set.
    """
    for text in _texts(value):
        if text.startswith(FROM_ENVIRONMENT):
            variable = text.removeprefix(FROM_ENVIRONMENT)
            raise SettingsError(f"{where}: the environment variable {variable} is not set")


def _repository(
    fields: dict[str, Any], kinds: InstalledKinds, path: Path, where: str
) -> RepositorySettings:
    unknown = [name for name in fields if name not in RepositorySettings.__struct_fields__]
    if unknown:
        raise SettingsError(
            f"{where}: Object contains unknown field `{unknown[0]}`; the fields are "
            f"{', '.join(RepositorySettings.__struct_fields__)}; what is an option of the kind "
            f"stands in options = {{ {unknown[0]} = … }}"
        )
    table = _table(fields, RepositorySettings, path, where)
    if table.options:
        try:
            _check_options(table, kinds)
        except SettingsError as error:
            raise SettingsError(f"{where}: {error}") from error
    return table


def _check_options(table: RepositorySettings, kinds: InstalledKinds) -> None:
    """Check what can be checked now: a kind that cannot be loaded, a variable that is not set and
    an option that is missing are told of when a sync is wanted.
    """
    try:
        kind = kinds.load(table.source)
    except SettingsError:
        return
    check_options(kind, {name: value for name, value in table.options.items() if not _waits(value)})


def _waits(value: object) -> bool:
    """Say whether a text in `value` waits for an environment variable that is not set."""
    return any(text.startswith(FROM_ENVIRONMENT) for text in _texts(value))


def _table(fields: dict[str, Any], kind: type[Table], path: Path, where: str) -> Table:
    table = _convert(fields, kind, where)
    unknown = table.remote.keys() - _REMOTE_FIELDS
    if unknown:
        raise SettingsError(f"{where}: remote has no field {', '.join(sorted(unknown))}")
    for field in _REMOTE_FILES:
        text = table.remote.get(field)
        if isinstance(text, str) and _PEM not in text and not text.startswith(FROM_ENVIRONMENT):
            table.remote[field] = str(path.parent / os.path.expanduser(text))
    return table


def _convert(value: object, kind: type[T], where: str) -> T:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise SettingsError(f"{where}: {error}") from error


def _expand(value: Any, environ: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _expand(item, environ) for key, item in value.items()}
    if isinstance(value, list):
        return [_expand(item, environ) for item in value]
    if isinstance(value, str) and value.startswith(FROM_ENVIRONMENT):
        found = _variable(value.removeprefix(FROM_ENVIRONMENT), environ)
        return value if found is None else found
    return value


def _variable(name: str, environ: Mapping[str, str]) -> str | None:
    text = environ.get(name)
    if text is not None and not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            # Neither the bytes nor the cause are shown: it may be a password.
            raise SettingsError(
                f"the environment variable {name} holds bytes that are no UTF-8"
            ) from None
    return text


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)
