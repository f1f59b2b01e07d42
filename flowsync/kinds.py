"""What a kind of source tells the command line and daemons about itself."""

from collections.abc import Callable, Sequence

import msgspec

from flowsync.model.remote import Remote
from flowsync.model.repository import VersionEntry
from flowsync.pipeline.stage import Stage


class MetadataFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file that a served version has beside its content, made from the units of one type.

    `render` gives the text for some entries; what it gives for all of them, in order of path, is
    the file at `path`. It runs in a thread.
    """

    path: str
    type_name: str
    render: Callable[[Sequence[VersionEntry]], bytes]


class SourceKind(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of upstream, found through the entry-point group `flowsync.sources`.

    `name` is the word of the command line (`flowsync sync NAME URL`), `summary` says in its help
    what the URL leads to, and `first_stage` makes the first stage of a sync from a remote.
    `metadata` is what a served version has beside its content, so that others can sync from it.
    """

    name: str
    summary: str
    first_stage: Callable[[Remote], Stage]
    metadata: tuple[MetadataFile, ...] = ()
