"""Who may read what: the question a server puts before it looks anything up, so that a client does
not learn from an answer what there is.
"""

from collections.abc import Callable, Sequence
from typing import Final, Literal

import msgspec

from flowsync.catalog.queries.served_paths import ServedFile, ServingSource
from flowsync.errors import (
    AllSourcesFailedError,
    CatalogError,
    FlowsyncError,
    StoreError,
    TransferTimeoutError,
)
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


# Why bytes cannot be had, and the status that tells it.
#
# | what happened | answer | |---|---| | no source of the bytes is recorded | 404; 503 when they are
# here and cannot be read | | every source failed, or all of them gave wrong bytes lately | 502 | |
# the only failures were time-outs | 504 | | the server's disk cannot take the body | 503 | | any of
# these when some bytes had been sent already | the connection is broken off |

_REASONS: Final = {
    404: "no source of this file is known",
    502: "no source gave the right bytes; the server's log says why",
    503: "this server cannot take or read the bytes now; its log says why",
    504: "no source answered in time",
}


class NoSourceError(FlowsyncError):
    """No source of the bytes is recorded."""


class CoolingError(FlowsyncError):
    """All sources that are recorded gave wrong bytes lately."""


def no_source(
    found: ServedFile, sources: Sequence[ServingSource], unread: str | None
) -> FlowsyncError:
    """Return the error for a file none of whose `sources` may be asked; `unread` is its blob, if
    that is here and cannot be read.
    """
    if sources:
        return CoolingError(f"all sources of {found.relative_path} gave wrong bytes lately")
    if unread is not None:
        return StoreError(f"blob {unread} cannot be read, and no other source is recorded")
    return NoSourceError(f"no source of {found.relative_path} is recorded")


def refusal(failure: FlowsyncError) -> Answer:
    """Return the answer that tells of the failure."""
    status = _status(failure)
    return plain(status, _REASONS[status])


def _status(failure: FlowsyncError) -> int:
    if isinstance(failure, NoSourceError):
        return 404
    if isinstance(failure, AllSourcesFailedError):
        return (
            504 if all(isinstance(one, TransferTimeoutError) for one in failure.failures) else 502
        )
    if isinstance(failure, TransferTimeoutError):
        return 504
    return 503 if isinstance(failure, (StoreError, CatalogError)) else 502
