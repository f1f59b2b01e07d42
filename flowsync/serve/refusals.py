"""Why bytes cannot be had, and the status that tells it.

| what happened | answer |
|---|---|
| no source of the bytes is recorded | 404; 503 when they are here and cannot be read |
| every source failed, or all of them gave wrong bytes lately | 502 |
| the only failures were time-outs | 504 |
| the server's disk cannot take the body | 503 |
| any of these when some bytes had been sent already | the connection is broken off |
"""

from collections.abc import Sequence
from typing import Final

from flowsync.catalog.queries.served_paths import ServedFile, ServingSource
from flowsync.errors import (
    AllSourcesFailedError,
    CatalogError,
    FlowsyncError,
    StoreError,
    TransferTimeoutError,
)
from flowsync.serve.http.answer import Answer, plain

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
