"""How a question and its answer travel between processes, such that nobody waits for ever when a
process dies on the way.

1. To a worker and back go only messages of up to `PIPE_BUF` bytes. Even a pipe that workers share
   takes those whole or not at all, whenever the writer is killed.
2. What is larger becomes a file. It is complete and closed before anything speaks of it.
3. Both sides know the names from the start, so the parent removes the files, whatever became of the
   worker.
4. An error of the work is an answer, so it becomes a file too when it is large.

Decided: `PIPE_BUF`, not the 16 KiB that `multiprocessing` writes in one call, because a pipe that
is nearly full takes part of a longer call.
"""

import os
import pickle
import select
from collections.abc import Callable
from contextlib import suppress
from typing import Final, TypeAlias

import msgspec

from flowsync.errors import WorkerError
from flowsync.runtime.failures import Failure, pack_error, unpack_error

Work: TypeAlias = Callable[[bytes], bytes]
"""A function of a module that workers can import."""

SMALL: Final = max(0, select.PIPE_BUF - 1024)
"""Bytes that cross without a file; the rest of `PIPE_BUF` is for what an executor adds, and for the
name of the file.
"""


class _Outcome(msgspec.Struct, frozen=True, array_like=True):
    answer: bytes = b""
    failure: Failure | None = None


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Outcome).decode


def fits(question: bytes, path: str) -> bool:
    """Say whether a question can go through the pipe, with the name of its file; if not, `write`
    makes it the file.
    """
    return len(question) + len(os.fsencode(path)) <= SMALL


def write(path: str, message: bytes) -> None:
    """Make a message the file `path`. Raise `OSError`."""
    # Another worker may have begun the same answer, and died of it.
    with open(path, "wb", buffering=0, opener=_open_private) as file:
        rest = memoryview(message)
        while rest:
            rest = rest[file.write(rest) :]


def carry_out(work: Work, question: bytes | None, path: str) -> bytes | None:
    """Do the work in a worker, and return its outcome. `None` stands for a question, and an
    outcome, that is a file.
    """
    try:
        outcome = _Outcome(work(_read(path) if question is None else question))
    except Exception as error:  # noqa: BLE001 -- raised again by whoever asked
        outcome = _Outcome(failure=pack_error(error))
    encoded = _encode(outcome)
    if len(encoded) <= SMALL:
        return encoded
    try:
        write(_answer_path(path), encoded)
    except OSError as error:
        told = pickle.dumps(WorkerError(f"a worker cannot write its answer: {error.strerror}"))
        return _encode(_Outcome(failure=Failure(told, f"in worker process {os.getpid()}")))
    return None


def unpack(outcome: bytes | None, path: str) -> bytes:
    """Return the answer in what `carry_out` returned, or raise the error of the work."""
    found = _decode(_read(_answer_path(path)) if outcome is None else outcome)
    if found.failure is not None:
        raise unpack_error(found.failure)
    return found.answer


def remove(path: str) -> None:
    """Remove what files there are of question and answer."""
    for name in (path, _answer_path(path)):
        with suppress(FileNotFoundError):
            os.unlink(name)


def _answer_path(path: str) -> str:
    return f"{path}-answer"


def _read(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:
        return file.read()


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
