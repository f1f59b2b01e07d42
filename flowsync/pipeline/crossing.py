"""What crosses between a pipeline and the worker that hosts a segment of it: a batch one way, what became of it the other way.

1. The envelope is known here, the content only to the codecs of both sides.
2. An answer says of every item what became of it: put on, in which order, as new, resolved, or, if it is not mentioned, dropped.
3. An error crosses as itself, with its attributes and notes; the worker's traceback goes along as a note. One that cannot be pickled arrives
   as a `WorkerError` with its text.

Decided: errors are pickled, because classes of plugins have attributes of their own, and because the answers come from processes that we started.
"""

import os
import pickle
from collections.abc import Sequence
from traceback import TracebackException
from typing import Protocol, TypeVar

import msgspec

from flowsync.model.errors import WorkerError
from flowsync.model.events import Reading
from flowsync.pipeline.pipeline import StageStatistics

T = TypeVar("T")

NEW = -1
"""Stands in `Answer.order` for an item that the segment made."""


class Failure(msgspec.Struct, frozen=True, array_like=True):
    """An error of a worker: pickled, and its traceback as text."""

    error: bytes
    traceback: str


class Question(msgspec.Struct, frozen=True, array_like=True):
    """A batch for a worker. It is wanted as long as the file `wanted` exists. `terms` and `body` belong to the segment and its codec."""

    wanted: str
    terms: bytes
    body: bytes


class Answer(msgspec.Struct, frozen=True, array_like=True):
    """What became of a batch.

    `order` has, for each item that was put on, its position in the batch, or `NEW`; `body` describes these items. `resolved` has the positions of
    items that a stage resolved. `stages` are the statistics of the segment's stages. `failure` means that the segment failed; with `stopped` nobody
    wanted the batch any more, and the rest says nothing.
    """

    order: list[int] = []
    resolved: list[int] = []
    body: bytes = b""
    readings: tuple[Reading, ...] = ()
    stages: tuple[StageStatistics, ...] = ()
    failure: Failure | None = None
    stopped: bool = False


class Codec(Protocol[T]):
    """The pipeline's side: turns items into bytes, and writes answers into the very same items."""

    def encode(self, items: Sequence[T]) -> bytes:
        """Return the items as bytes. Raise `CannotCrossError` for one that has no form as bytes."""

    def merge(self, answer: bytes, items: Sequence[T], order: Sequence[int]) -> list[T]:
        """Write what a worker learned into `items` and return those to put on, in the order of `Answer.order`; new ones are made here."""


class WorkerCodec(Protocol[T]):
    """The worker's side."""

    def decode(self, body: bytes) -> list[T]:
        """Return the items of a batch."""

    def encode(self, put_on: Sequence[T], order: Sequence[int]) -> bytes:
        """Return what the items look like that the segment put on. Afterwards the items are not needed any more."""


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
