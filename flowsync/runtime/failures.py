"""Errors on their way from a worker process to the one that asked.

An error crosses as itself, with its attributes and notes; the worker's traceback goes along as a
note. One that cannot be pickled arrives as a `WorkerError` with its text.

Decisions: docs/decisions/0007.
"""

import os
import pickle
from traceback import TracebackException

import msgspec

from flowsync.errors import WorkerError


class Failure(msgspec.Struct, frozen=True, array_like=True):
    """An error of a worker: pickled, and its traceback as text."""

    error: bytes
    traceback: str


def pack_error(error: Exception) -> Failure:
    """Return an error in a form that crosses."""
    told = TracebackException.from_exception(error)
    told.__notes__ = None  # they travel with the error
    text = "".join(told.format())
    try:
        packed = pickle.dumps(error)
        pickle.loads(packed)  # noqa: S301 -- our own; shows that it can be loaded
    except Exception:  # noqa: BLE001 -- any class may fail in its own way
        packed = pickle.dumps(WorkerError(f"{type(error).__qualname__}: {error}"))
    return Failure(packed, f"in worker process {os.getpid()}:\n{text}")


def unpack_error(failure: Failure) -> Exception:
    """Return the error that `pack_error` packed, with the worker's traceback as a note."""
    error: Exception = pickle.loads(failure.error)  # noqa: S301 -- from a process that we started
    error.add_note(failure.traceback)
    return error
