"""Remotes: where content comes from, and how to talk to it.

A `Remote` is a plain value until a run binds it to the engine's fetcher; then `get_downloader`
gives downloaders that share the engine's connections and limits. A `FetchRequest` names its remote,
and a `Fetcher` brings what it asks for, by HTTP or from local files.

Decisions: docs/decisions/0005.

Also here: what a fetcher brings, and alternate sources. Each names the others in its types.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping
from datetime import datetime
from typing import Any, Final, Literal, Protocol
from unicodedata import category

import msgspec

from flowsync.errors import DeclarationError
from flowsync.errors.error_tree import printable
from flowsync.model.artifact import LARGEST_SIZE
from flowsync.model.measures import (
    LARGEST_RATE,
    SMALLEST,
    problem_with_count,
    problem_with_measure,
)
from flowsync.model.recordable import problem_with_text
from flowsync.model.repository import HIDDEN, is_strong, proving_tag
from flowsync.model.url import holds_user, redact, scheme, why_unsendable

# What a fetcher brings, and where it puts a body.
#
# Metadata comes as a file, a `Fetched`. The body of an artifact goes piece by piece into a `Sink`:
# the sink chooses where the bytes live, and hashes them in the same pass. What is asked of a
# fetcher names a remote, so it stands further down.


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
    lower-case; values hold nothing that cannot be shown. `path` is the file, or `None` when only
    headers were asked for, or a conditional request found nothing newer (`not_modified`). `digests`
    holds sha256 and what was expected.
    `proof` is the entity tag by which the next request may find out that the body is still the
    same, if upstream gave one that proves it (`model/repository.py`).
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


Policy = Literal["immediate", "on_demand", "streamed"]
"""When the bytes of a remote's content are fetched: during the sync, on a client's first request,
or on every request.
"""

COOL_DOWN: Final = 300.0
"""Seconds that a source is left alone whose bytes were wrong, by default."""

_TEXTS: Final = (
    "name",
    "url",
    "username",
    "password",
    "token",
    "ca_cert",
    "client_cert",
    "client_key",
    "proxy_url",
    "proxy_username",
    "proxy_password",
)


class Remote(msgspec.Struct, kw_only=True, eq=False):
    """An upstream: a name that is unique in the catalog, a URL, a policy, and everything the
    connection needs.

    Numbers are finite and at most a thousand million (rates: the square of it). Time-outs are
    seconds; `None` means no limit and 0 is refused: `total_timeout` for one try with its body,
    `connect_timeout` until a connection stands, `stall_timeout` between two pieces of an answer.
    `max_retries` counts the tries after the first.

    How one host is asked, by all syncs of an engine together: `download_concurrency` requests at a
    time, or as many as it turns out to take (`None`); at most `rate_limit` requests a second and
    `bandwidth_limit` bytes a second. Where remotes of one host differ, the more modest ones hold up
    the others only while it is their turn.

    Credentials are user and password (basic) or a `token` (bearer). They and `headers` (repeated
    names are sent repeatedly; a User-Agent is appended to flowsync's own) go to the host of `url`
    and to no other, wherever redirects lead or upstream's metadata points. Certificates and keys
    are PEM text or paths of PEM files; an own CA is trusted besides the system's. `trust_env` takes
    proxies from the environment. Credentials never reach the catalog, a log, an event, an error or
    `repr`.
    """

    name: str
    url: str
    policy: Policy = "immediate"
    headers: list[tuple[str, str]] = []
    username: str | None = None
    password: str | None = None
    token: str | None = None
    ca_cert: str | None = None
    client_cert: str | None = None
    client_key: str | None = None
    tls_validation: bool = True
    proxy_url: str | None = None
    proxy_username: str | None = None
    proxy_password: str | None = None
    trust_env: bool = False
    download_concurrency: int | None = None
    rate_limit: float | None = None
    bandwidth_limit: int | None = None
    max_retries: int = 3
    total_timeout: float | None = None
    connect_timeout: float | None = 30.0
    stall_timeout: float | None = 300.0
    _fetcher: "Fetcher | None" = None

    def __post_init__(self) -> None:
        if not self.name:
            raise DeclarationError("a remote needs a name")
        _check_texts(self)
        _check_url(self.name, "url", self.url)
        _check_numbers(self)
        _check_headers(self.name, self.headers)
        _check_credentials(self)
        _check_proxy(self)

    def __repr__(self) -> str:
        return f"Remote(name={self.name!r}, url={redact(self.url)!r}, policy={self.policy!r})"

    @property
    def deferred(self) -> bool:
        """Whether artifacts of this remote are recorded but not fetched during a sync."""
        return self.policy != "immediate"

    def bind(self, fetcher: "Fetcher") -> None:
        """Let downloaders of this remote use `fetcher`. Raise `DeclarationError` while another open
        engine uses the remote.
        """
        if self._fetcher is not None and self._fetcher is not fetcher and not self._fetcher.closed:
            raise DeclarationError(
                f"remote {self.name!r} is in use by another open engine; give each engine its "
                "own Remote"
            )
        self._fetcher = fetcher

    def get_downloader(self, url: str, **request: Any) -> "Downloader":
        """Return a downloader of `url` with this remote's credentials and limits.

        `request` takes the other fields of `FetchRequest`, such as `expected` digests, `validators`
        for a conditional request, or `same_origin=True` for metadata that no other host may give.
        Raise `DeclarationError` when no run has bound the remote yet.
        """
        if self._fetcher is None:
            raise DeclarationError(
                f"remote {self.name!r} is not bound to an engine: keep it in an attribute of "
                "the stage, "
                "or call engine.bind(remote)"
            )
        return Downloader(self._fetcher, FetchRequest(url=url, remote=self, **request))


Method = Literal["GET", "HEAD"]


class FetchRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One body that is wanted.

    `expected` holds hexadecimal digests by algorithm and `size` bytes; both are checked by
    `download`. With `validators` the request is conditional. `folder` is where `download` puts the
    file; without it, the fetcher's own scratch folder. `max_size` (bytes) refuses a longer body: a
    bound against upstreams that never end. `compressed` lets upstream compress the body on its way;
    sizes and digests are always those of the bytes that arrive in the sink. `same_origin` refuses
    redirects to another party than the one of `url`: another scheme, host or port. From http to
    https on their usual ports the party stays the same. The `method` HEAD brings headers and
    validators without a body, and no file.
    """

    url: str
    remote: Remote
    method: Method = "GET"
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
        for field, size in (("size", self.size), ("max_size", self.max_size)):
            problem = None if size is None else problem_with_count(size, 0, LARGEST_SIZE)
            if problem is not None:
                raise DeclarationError(f"request of {redact(self.url)}: {field} {problem}")


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


class Downloader:
    """One download that waits to be run; made by `Remote.get_downloader`, used once."""

    __slots__ = ("_fetcher", "_request")

    def __init__(self, fetcher: Fetcher, request: FetchRequest) -> None:
        self._fetcher = fetcher
        self._request = request

    async def run(self) -> Fetched:
        """Fetch the body into a file of the run's staging folder and return what arrived. Raise a
        `TransferError` or `IntegrityError`.
        """
        return await self._fetcher.download(self._request)


def _check_url(remote: str, field: str, url: str) -> None:
    if not scheme(url):
        raise DeclarationError(f"remote {remote!r}: {field} has no scheme, found {redact(url)!r}")
    if holds_user(url):
        raise DeclarationError(
            f"remote {remote!r}: {field} holds credentials; use the remote's own fields for them"
        )


def _check_texts(remote: Remote) -> None:
    for field in _TEXTS:
        value = getattr(remote, field)
        # Values are not shown: they may be secret.
        problem = None if value is None else problem_with_text(value)
        if problem is not None:
            raise _refused(remote, field, problem)
    if "Cc" in set(map(category, f"{remote.name}{remote.url}")):
        found = printable(redact(remote.url))
        raise DeclarationError(
            f"remote {printable(remote.name)!r}: name and url cannot hold control characters, "
            f"url is {found!r}"
        )


def _check_numbers(remote: Remote) -> None:
    for field, least in (("download_concurrency", 1), ("max_retries", 0)):
        value = getattr(remote, field)
        if not (value is None and field == "download_concurrency"):
            _expect(remote, field, problem_with_count(value, least))
    for field in ("total_timeout", "connect_timeout", "stall_timeout"):
        value = getattr(remote, field)
        if value is not None:
            _expect(remote, field, problem_with_measure(value, "positive seconds or None"))
    for field in ("rate_limit", "bandwidth_limit"):
        value = getattr(remote, field)
        if value is not None:
            problem = problem_with_measure(
                value, "positive or None", least=SMALLEST, most=LARGEST_RATE
            )
            _expect(remote, field, problem)


def _expect(remote: Remote, field: str, problem: str | None) -> None:
    if problem is not None:
        raise _refused(remote, field, problem)


def _refused(remote: Remote, field: str, reason: str) -> DeclarationError:
    return DeclarationError(f"remote {printable(str(remote.name))!r}: {field} {reason}")


def _check_headers(remote: str, headers: list[tuple[str, str]]) -> None:
    for name, value in headers:
        reason = why_unsendable(name, value)
        if reason is not None:
            raise DeclarationError(f"remote {remote!r}: {reason}")


def _check_credentials(remote: Remote) -> None:
    if remote.username is not None and remote.token is not None:
        raise DeclarationError(f"remote {remote.name!r}: username and token exclude each other")
    if remote.username is None and remote.password is not None:
        raise DeclarationError(f"remote {remote.name!r}: a password needs a username")
    if remote.username is not None and ":" in remote.username:
        raise DeclarationError(f"remote {remote.name!r}: a username cannot hold a colon")
    if remote.token is not None and why_unsendable("Authorization", remote.token):
        raise DeclarationError(f"remote {remote.name!r}: the token holds control characters")
    if remote.client_cert is None and remote.client_key is not None:
        raise DeclarationError(f"remote {remote.name!r}: a client_key needs a client_cert")


def _check_proxy(remote: Remote) -> None:
    if remote.proxy_url is not None:
        _check_url(remote.name, "proxy_url", remote.proxy_url)
        if scheme(remote.proxy_url) not in {"http", "https"}:
            raise DeclarationError(
                f"remote {remote.name!r}: proxy_url must be http or https, "
                f"found {redact(remote.proxy_url)!r}"
            )
    given = remote.proxy_username is not None, remote.proxy_password is not None
    if given[0] != given[1]:
        raise DeclarationError(
            f"remote {remote.name!r}: proxy_username and proxy_password go together"
        )
    if any(given) and remote.proxy_url is None:
        raise DeclarationError(f"remote {remote.name!r}: proxy credentials need a proxy_url")


# Alternate sources: places that have the same bytes, asked before upstream is.


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
