"""What a fetcher brings, and where it puts a body.

Metadata comes as a file, a `Fetched`. The body of an artifact goes piece by piece into a `Sink`:
the sink chooses where the bytes live, and hashes them in the same pass. What is asked of a fetcher
names a remote, so it stands in `remote.py`.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Protocol

import msgspec

from flowsync.model.repository import is_strong, proving_tag


class Validators(msgspec.Struct, frozen=True):
    """What upstream said to recognise a body again: its entity tag and its modification date, as
    sent.
    """

    etag: str | None = None
    last_modified: str | None = None

    def __bool__(self) -> bool:
        return self.etag is not None or self.last_modified is not None


class Fetched(msgspec.Struct, frozen=True, kw_only=True):
    """A body that arrived as a file.

    `url` is where the bytes came from: what was asked, or after redirects the last URL, without
    what may be secret. Relative links of the body are resolved against it. Header names are
    lower-case; values hold nothing that cannot be shown. `path` is the file, or `None` when a
    conditional request found nothing newer (`not_modified`). `digests` holds sha256 and what was
    expected.
    `proof` is the entity tag by which the next request may find out that the body is still the
    same, if upstream gave one that proves it (`sameness`).
    """

    url: str
    path: str | None
    size: int
    digests: Mapping[str, str]
    headers: Mapping[str, str]
    validators: Validators
    not_modified: bool = False

    @property
    def proof(self) -> str | None:
        return proving_tag(self.validators.etag, self.headers)

    def confirms(self, tag: str) -> bool:
        """Say whether this is the answer that the body with the entity tag `tag` is still
        the same.
        """
        return self.not_modified and is_strong(tag) and self.validators.etag in {None, tag}


class Received(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a body that went into a sink. `size` counts bytes; `url` and `headers` are
    like those of `Fetched`.

    `not_modified` answers a conditional request: upstream has nothing newer and the sink took
    nothing.
    """

    url: str
    size: int
    headers: Mapping[str, str]
    validators: Validators
    not_modified: bool = False


class Held(msgspec.Struct, frozen=True):
    """The first `size` bytes of a body, and the strong validator by which upstream would recognise
    the rest.
    """

    size: int
    validator: str


Take = Callable[[memoryview], object]
"""Takes the next piece of a body and is done with it when it returns, as the `update` of a hash."""

Pour = Callable[[int, Collection[Take]], int]
"""Writes those of a body's next bytes that are there to the file behind a descriptor, gives each
piece to all that take it, and returns their number. For a thread; raises `OSError` when the file
cannot be written.
"""

Fill = Callable[[Pour], Awaitable[None]]
"""Calls a `Pour` once, in a thread, with the file that is to have the next bytes; when cancelled,
it ends no sooner than that.
"""


class Sink(Protocol):
    """Where a body goes. One sink takes one body; `restart` makes it empty again for another try or
    another source.

    What it raises ends the transfer, except an `IntegrityError` of `finish`: the body was wrong,
    and is fetched again while tries are left.
    """

    @property
    def held(self) -> Held | None:
        """What an earlier transfer has left in the sink; asked when a transfer begins, and void
        after `restart`.
        """

    def begin(self, validator: str | None) -> None:
        """Take note that a body begins at its first byte, and of its strong validator if upstream
        gave one. Only where bodies can be continued.
        """

    async def write(self, chunk: bytes) -> None:
        """Take the next bytes."""

    def direct(self, size: int) -> Fill | None:
        """Return how a thread brings the next bytes, if a body of `size` bytes goes to a file; else
        they are written.
        """

    async def restart(self) -> None:
        """Forget all bytes taken so far, also after `finish`."""

    async def finish(self) -> None:
        """Take note that the body is whole. Called while no connection is held, so hashing may take
        its time here.
        """
