"""What a request says: who we are, what the remote wants said, which bytes are wanted. Pure.

Decisions: docs/decisions/0011.
"""

from base64 import b64encode
from collections.abc import Iterable
from typing import Final

from flowsync.download.http.redirects import Hop
from flowsync.download.transfer.attempt import Tally
from flowsync.download.transfer.inflow import ENCODINGS
from flowsync.model.remote import FetchRequest, Remote

Headers = list[tuple[str, str]]

_FOR_ALL: Final = frozenset({"accept", "accept-language", "cache-control", "pragma"})
_SECRET: Final = frozenset({"authorization", "cookie", "proxy-authorization"})
# Ours to decide: they change what the bytes of the answer mean.
_OURS: Final = frozenset({"accept-encoding", "range", "if-range", "user-agent"})


def basic(username: str, password: str) -> str:
    """Return the value of an `Authorization` header for user and password."""
    return "Basic " + b64encode(f"{username}:{password}".encode()).decode("ascii")


class Greeting:
    """What requests of one remote have in common. `to_all` goes to every host, `to_own` only to the
    remote's own.
    """

    __slots__ = ("to_all", "to_own")

    def __init__(self, product: str, remote: Remote) -> None:
        agents = [value for name, value in remote.headers if name.lower() == "user-agent"]
        shared = [pair for pair in remote.headers if pair[0].lower() in _FOR_ALL]
        kept = _without(remote.headers, _FOR_ALL | _OURS)
        self.to_all = [("User-Agent", ", ".join([product, *agents])), *shared]
        if "accept" not in {name.lower() for name, _ in shared}:
            self.to_all.append(("Accept", "*/*"))
        proof = _authorization(remote)
        if proof is not None:
            kept = [*_without(kept, {"authorization"}), ("Authorization", proof)]
        self.to_own = [*self.to_all, *kept]


def compose(greeting: Greeting, request: FetchRequest, hop: Hop, tally: Tally) -> Headers:
    """Return the headers of one request. The request's own replace the remote's of the same
    name.
    """
    headers = greeting.to_own if hop.trusted else greeting.to_all
    own = request.headers
    if own:
        refused = _OURS if hop.first else _OURS | _SECRET
        added = _without(own.items(), refused)
        headers = [*_without(headers, {name.lower() for name, _ in added}), *added]
    return [*headers, *_what(request, tally)]


def _what(request: FetchRequest, tally: Tally) -> Headers:
    if tally.resumable and tally.validator is not None:
        return [
            ("Accept-Encoding", "identity"),
            ("Range", f"bytes={tally.taken}-"),
            ("If-Range", tally.validator),
        ]
    wanted = [("Accept-Encoding", ENCODINGS if request.compressed else "identity")]
    known = request.validators
    if known is not None and known.etag is not None:
        wanted.append(("If-None-Match", known.etag))
    if known is not None and known.last_modified is not None:
        wanted.append(("If-Modified-Since", known.last_modified))
    return wanted


def _authorization(remote: Remote) -> str | None:
    if remote.token is not None:
        return f"Bearer {remote.token}"
    if remote.username is not None:
        return basic(remote.username, remote.password or "")
    return None


def _without(headers: Iterable[tuple[str, str]], names: Iterable[str]) -> Headers:
    dropped = frozenset(names)
    return [pair for pair in headers if pair[0].lower() not in dropped]
