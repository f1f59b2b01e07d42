"""Alternate sources: places that have the same bytes, asked before upstream is."""

from datetime import datetime

import msgspec

from flowsync.model.repository import HIDDEN


def remote_name(name: str, kind: str) -> str:
    """Return the name of the remote that a source of that name and kind has for itself."""
    return f"{HIDDEN}{kind}:{name}"


class AlternateSource(msgspec.Struct, frozen=True, kw_only=True):
    """A remote to ask first, higher priority earlier; `url` is where it is, as it was recorded.

    `paths` are those of the remote that it was refreshed from; none means the whole.
    """

    name: str
    remote_name: str
    url: str
    priority: int = 0
    paths: tuple[str, ...] = ()
    last_refreshed: datetime | None = None

    @property
    def kind(self) -> str | None:
        """The kind of upstream of a source that flowsync refreshes; `None` for one that a program
        keeps up by itself.
        """
        kind = self.remote_name.removeprefix(HIDDEN).partition(":")[0]
        return kind if self.remote_name == remote_name(self.name, kind) else None


class RefreshedPath(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one path of a source: how many units it lists now, whether these changed, or
    why it could not be read.
    """

    path: str
    units: int = 0
    changed: bool = False
    error: str | None = None
