"""What crosses between a pipeline and the worker that hosts a segment of it: a batch one way, what
became of it the other way.

1. The envelope is known here, the content only to the codecs of both sides.
2. An answer says of every item what became of it: put on, in which order, as new, resolved, or, if
   it is not mentioned, dropped.
3. An error crosses as itself (`flowsync.runtime.failures`).
"""

from collections.abc import Sequence
from typing import Protocol, TypeVar

import msgspec

from flowsync.model.events import Reading
from flowsync.pipeline.stage import StageStatistics
from flowsync.runtime.failures import Failure

T = TypeVar("T")

NEW = -1
"""Stands in `BatchReply.order` for an item that the segment made."""


class BatchRequest(msgspec.Struct, frozen=True, array_like=True):
    """A batch for a worker. `terms` and `body` belong to the segment and its codec."""

    terms: bytes
    body: bytes


class BatchReply(msgspec.Struct, frozen=True, array_like=True):
    """What became of a batch.

    `order` has, for each item that was put on, its position in the batch, or `NEW`; `body`
    describes these items. `resolved` has the positions of items that a stage resolved. `stages` are
    the statistics of the segment's stages. `failure` means that the segment failed; with `stopped`
    the batch was not wanted any more, and the rest says nothing.
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
        """Write what a worker learned into `items` and return those to put on, in the order of
        `BatchReply.order`; new ones are made here.
        """


class WorkerCodec(Protocol[T]):
    """The worker's side."""

    def decode(self, body: bytes) -> list[T]:
        """Return the items of a batch."""

    def encode(self, put_on: Sequence[T], order: Sequence[int]) -> bytes:
        """Return what the items look like that the segment put on. Afterwards the items are not
        needed any more.
        """
