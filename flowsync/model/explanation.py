"""Why a path is in a version, or is not: which version, run, source or failure decided it."""

from typing import Any

import msgspec

from flowsync.model.remote import Policy
from flowsync.model.repository import LeftOut


class SourceNote(msgspec.Struct, frozen=True, kw_only=True):
    """Where bytes can be fetched from. `url` is redacted; the policy is the one that the remote has
    now.
    """

    remote: str
    url: str
    policy: Policy


class Presence(msgspec.Struct, frozen=True, kw_only=True):
    """A unit that has the path. `added` is the version that added it, made by `run` if it was a
    sync that recorded itself.

    The run read metadata from the remotes whose redacted URLs are `read`, and found the unit in
    that `line`, if it said so. A unit without artifacts, which was asked for by its id instead of a
    path, has `fields` and nothing that is known of bytes.
    """

    type: str
    added: int
    run: int | None
    line: int | None
    read: tuple[str, ...]
    sha256: str | None
    blake3: str | None
    size: int | None
    stored: bool
    origins: tuple[SourceNote, ...]
    fields: dict[str, Any] | None = None


class Removal(msgspec.Struct, frozen=True, kw_only=True):
    """The version that removed the path last, made by `run`, which read metadata from the remotes
    `read`, or by rolling back to a version.
    """

    version: int
    run: int | None
    read: tuple[str, ...]
    rolled_back_to: int | None


class LeftOutNote(msgspec.Struct, frozen=True, kw_only=True):
    """The last run that left the path out, and how many runs of the repository there were
    after it.
    """

    run: int
    runs_since: int
    left_out: LeftOut


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """All that is recorded about a path of `version`. No `present` unit, `removal` or `failure`: no
    sync ever got to hear of it.
    """

    repository: str
    version: int
    path: str
    present: tuple[Presence, ...]
    removal: Removal | None
    failure: LeftOutNote | None
