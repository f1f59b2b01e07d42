"""Remotes: where content comes from, and how to talk to it.

A `Remote` is a plain value until a run binds it to the engine's fetcher; then `get_downloader` gives downloaders that share the engine's
connections and limits.

Decided: the binding is a slot of the remote that a run fills, because the Stages API has the first stage call `self.remote.get_downloader(url=…)`
without naming an engine, and neither a module global nor a context variable is allowed to carry one (design, ruling 2).
"""

from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

from flowsync.model.errors import DeclarationError
from flowsync.model.transfer import Fetched, Fetcher, FetchRequest

Policy = Literal["immediate", "on_demand", "streamed"]
"""When the bytes of a remote's content are fetched: during the sync, on a client's first request, or on every request."""

DEFAULT_CONCURRENCY = 16
"""Requests to one host at a time, unless the remote says otherwise."""


class Remote(msgspec.Struct, kw_only=True, eq=False):
    """An upstream: a name that is unique in the catalog, a URL, a policy, and everything the connection needs.

    Time-outs are seconds; `None` means no limit and 0 is refused. `max_retries` counts the tries after the first.
    `headers` are sent with every request, repeated names repeatedly. Certificates and keys are PEM text or paths of PEM files.
    Credentials never reach the catalog, a log, an event, an error or `repr`.
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
    download_concurrency: int = DEFAULT_CONCURRENCY
    max_retries: int = 3
    total_timeout: float | None = None
    connect_timeout: float | None = 30.0
    stall_timeout: float | None = 300.0
    _fetcher: Fetcher | None = None

    def __post_init__(self) -> None:
        if not self.name:
            raise DeclarationError("a remote needs a name")
        for name, url in (("url", self.url), ("proxy_url", self.proxy_url)):
            if url is not None:
                _check_url(self.name, name, url)
        if self.download_concurrency < 1:
            raise DeclarationError(
                f"remote {self.name!r}: download_concurrency must be at least 1, "
                f"found {self.download_concurrency}"
            )
        if self.max_retries < 0:
            raise DeclarationError(
                f"remote {self.name!r}: max_retries must be at least 0, found {self.max_retries}"
            )
        for timeout in ("total_timeout", "connect_timeout", "stall_timeout"):
            value = getattr(self, timeout)
            if value is not None and value <= 0:
                raise DeclarationError(
                    f"remote {self.name!r}: {timeout} must be positive seconds or None, found {value}"
                )

    def __repr__(self) -> str:
        return f"Remote(name={self.name!r}, url={self.url!r}, policy={self.policy!r})"

    @property
    def deferred(self) -> bool:
        """Whether artifacts of this remote are recorded but not fetched during a sync."""
        return self.policy != "immediate"

    def bind(self, fetcher: Fetcher) -> None:
        """Let downloaders of this remote use `fetcher`. Raise `DeclarationError` while another open engine uses the remote."""
        if self._fetcher is not None and self._fetcher is not fetcher and not self._fetcher.closed:
            raise DeclarationError(
                f"remote {self.name!r} is in use by another open engine; give each engine its own Remote"
            )
        self._fetcher = fetcher

    def get_downloader(self, url: str, **request: Any) -> "Downloader":
        """Return a downloader of `url` with this remote's credentials and limits.

        `request` takes the other fields of `FetchRequest`, such as `expected` digests or `validators` for a conditional request.
        Raise `DeclarationError` when no run has bound the remote yet.
        """
        if self._fetcher is None:
            raise DeclarationError(
                f"remote {self.name!r} is not bound to an engine: keep it in an attribute of the stage, "
                "or call engine.bind(remote)"
            )
        return Downloader(self._fetcher, FetchRequest(url=url, remote=self, **request))


class Downloader:
    """One download that waits to be run; made by `Remote.get_downloader`, used once."""

    __slots__ = ("_fetcher", "_request")

    def __init__(self, fetcher: Fetcher, request: FetchRequest) -> None:
        self._fetcher = fetcher
        self._request = request

    async def run(self) -> Fetched:
        """Fetch the body into a file of the run's staging folder and return what arrived. Raise a `TransferError` or `IntegrityError`."""
        return await self._fetcher.download(self._request)


def _check_url(remote: str, field: str, url: str) -> None:
    parts = urlsplit(url)
    if not parts.scheme:
        raise DeclarationError(f"remote {remote!r}: {field} has no scheme, found {url!r}")
    if parts.username is not None or parts.password is not None:
        raise DeclarationError(
            f"remote {remote!r}: {field} holds credentials; use username and password instead"
        )
