"""The tables of a settings file, with their fields."""

from typing import Annotated, Any, Final

import msgspec

from flowsync.configuration.quantities import seconds_of
from flowsync.model.remote import Policy
from flowsync.model.repository import ErrorPolicy

FROM_ENVIRONMENT: Final = "env:"
"""How a text begins that is taken from an environment variable."""

AtLeastOne = Annotated[int, msgspec.Meta(ge=1)]
Count = Annotated[int, msgspec.Meta(ge=0)]
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
    retain_versions: AtLeastOne | None = None
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


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the file says besides its repositories and alternate sources.

    Of `workers`, of the limits on what is in flight and on how many repositories are synced at a
    time, `None` is what the library takes.
    """

    home: str | None = None
    database_url: str | None = None
    hash_workers: AtLeastOne | None = None
    workers: Count | None = None
    max_connections: AtLeastOne = 8
    syncs_at_once: AtLeastOne | None = None
    in_flight_bytes: AtLeastOne | None = None
    in_flight_items: AtLeastOne | None = None
    allowed_roots: list[str] | None = None
    defaults: DefaultSettings = msgspec.field(default_factory=DefaultSettings)


def _check_duration(field: str, value: str | float | None) -> None:
    if value is None or (isinstance(value, str) and value.startswith(FROM_ENVIRONMENT)):
        return
    try:
        seconds_of(value)
    except ValueError as error:
        raise ValueError(f"{field}: {error}") from error
