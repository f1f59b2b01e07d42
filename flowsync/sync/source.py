"""What a kind of source tells the command line and daemons about itself."""

from collections.abc import Callable

import msgspec

from flowsync.model.remote import Remote
from flowsync.pipeline.stage import Stage


class SourceKind(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of upstream, found through the entry-point group `flowsync.sources`.

    `name` is the word of the command line (`flowsync sync NAME URL`), `summary` says in its help what the URL leads to, and `first_stage` makes the
    first stage of a sync from a remote.
    """

    name: str
    summary: str
    first_stage: Callable[[Remote], Stage]
