"""What is asked of a fetcher and what it gives back: the port between whoever wants bytes and
`flowsync.download`.

Two adapters exist, HTTP and local files. Metadata comes as a file (`download`); an artifact's body
goes chunk by chunk into a `Sink`, so that whoever wants it chooses where the bytes live and hashes
them in the same pass.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import TYPE_CHECKING, Protocol

import msgspec

from flowsync.errors import DeclarationError
from flowsync.model.header_line import why_unsendable
from flowsync.model.sameness import is_strong, proving_tag
from flowsync.model.url import redact

if TYPE_CHECKING:
    from flowsync.model.remote import Remote


class Validators(msgspec.Struct, frozen=True):
    """What upstream said to recognise a body again: its entity tag and its modification date, as
    sent.
    """

    etag: str | None = None
    last_modified: str | None = None

    def __bool__(self) -> bool:
        return self.etag is not None or self.last_modified is not None


class FetchRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One body that is wanted.

    `expected` holds hexadecimal digests by algorithm and `size` bytes; both are checked by
    `download`. With `validators` the request is conditional. `folder` is where `download` puts the
    file; without it, the fetcher's own scratch folder. `max_size` (bytes) refuses a longer body: a
    bound against upstreams that never end. `compressed` lets upstream compress the body on its way;
    sizes and digests are always those of the bytes that arrive in the sink. `same_origin` refuses
    redirects to another party than the one of `url`: another scheme, host or port. From http to
    https on their usual ports the party stays the same.
    """

    url: str
    remote: "Remote"
    expected: Mapping[str, str] = {}
    size: int | None = None
    max_size: int | None = None
    validators: Validators | None = None
    headers: Mapping[str, str] = {}
    folder: str | None = None
    compressed: bool = False
    same_origin: bool = False

    def __post_init__(self) -> None:
        for name, value in self.headers.items():
            reason = why_unsendable(name, value)
            if reason is not None:
                raise DeclarationError(f"request of {redact(self.url)}: {reason}")


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


class Fetcher(Protocol):
    """Brings bodies from URLs. Shared by all runs of an engine; safe to use from many tasks of one
    loop.
    """

    @property
    def closed(self) -> bool:
        """Whether the fetcher was closed; a closed one fetches nothing."""

    async def download(self, request: FetchRequest) -> Fetched:
        """Bring a body into a file, verified. Raise `TransferError` or `IntegrityError`; then no
        file is left.
        """

    async def stream(self, request: FetchRequest, sink: Sink) -> Received:
        """Bring a body into `sink`, its length checked against the answer's and `request.size`, and
        finish the sink.

        Raise `TransferError`, `SizeMismatchError`, or what the sink raises. The sink may then hold
        part of the body: it is its owner's to discard.
        """
