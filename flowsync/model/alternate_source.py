"""Alternate sources: places that have the same bytes, asked before upstream is."""

from datetime import datetime

import msgspec

from flowsync.model.repository import HIDDEN


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
        kind, separator, name = self.remote_name.removeprefix(HIDDEN).partition(":")
        own = separator and name == self.name and self.remote_name.startswith(HIDDEN)
        return kind if own else None


class RefreshedPath(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one path of a source: how many units it lists now, whether these changed, or
    why it could not be read.
    """

    path: str
    units: int = 0
    changed: bool = False
    error: str | None = None
