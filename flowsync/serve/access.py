"""Who may read what: the question a server puts before it looks anything up, so that nobody learns
from an answer what there is.
"""

from collections.abc import Callable
from typing import Literal

import msgspec

from flowsync.serve.http.answer import Answer, Asked, plain

_PUBLIC = "public"
_PRIVATE = "private"


class AccessRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request for something of `repository`: empty for the list of all and for what the grammar
    of a kind answers itself, `-` for the server's own pages.

    `authorization` is the header of that name, as it came.
    """

    repository: str
    method: str
    authorization: str | None


class Denied(msgspec.Struct, frozen=True, kw_only=True):
    """Why a request is not admitted: its client is not known (401), to whom `challenge` says how to
    show who it is, or may not read that (403).
    """

    status: Literal[401, 403]
    reason: str
    challenge: str = 'Basic realm="flowsync", charset="UTF-8"'


Admit = Callable[[AccessRequest], Denied | None]
"""Says why a request is not admitted, `None` when it is. Runs in the loop, so it is quick."""


def denial(admit: Admit | None, asked: Asked, repository: str) -> Answer | None:
    """Return the answer to a request that is not admitted, or `None`."""
    if admit is None:
        return None
    request = AccessRequest(
        repository=repository,
        method=asked.method,
        authorization=asked.headers.get("Authorization"),
    )
    denied = admit(request)
    if denied is None:
        return None
    if denied.status == 401:
        return plain(401, denied.reason, WWW_Authenticate=denied.challenge)
    return plain(403, denied.reason)


def keep_private(answer: Answer) -> Answer:
    """Let no cache that many share keep an answer."""
    kept = answer.headers.get("Cache-Control", "")
    if kept.startswith(_PUBLIC):
        answer.headers["Cache-Control"] = kept.replace(_PUBLIC, _PRIVATE, 1)
    return answer
