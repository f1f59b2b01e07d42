"""The translation of what the operating system refuses into the errors of the store and of exports.

Decisions: docs/decisions/0009.
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from flowsync.errors import ExportError, StoreError, StoreFullError, StoreUnwritableError
from flowsync.runtime.descriptors import how_to_raise

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_FORBIDDEN: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


@contextmanager
def store_errors(doing: str, otherwise: type[StoreError] = StoreError) -> Iterator[None]:
    """Turn every `OSError` of the block into a `StoreError` that says what was being done and what
    was found.
    """
    try:
        yield
    except OSError as error:
        raise _kind(error, otherwise)(f"{doing}: {describe(error)}") from error


@contextmanager
def export_errors(doing: str) -> Iterator[None]:
    """Turn every `OSError` of the block into an `ExportError` that says what was being done and
    what was found.
    """
    try:
        yield
    except OSError as error:
        raise ExportError(f"{doing}: {describe(error)}") from error


def describe(error: OSError) -> str:
    """Return the system's words for the error, with the path that it concerns where it
    names one.
    """
    where = f": {error.filename}" if error.filename else ""
    advice = f"; {how_to_raise()}" if error.errno == errno.EMFILE else ""
    return f"{error.strerror}{where}{advice}"


def _kind(error: OSError, otherwise: type[StoreError]) -> type[StoreError]:
    if error.errno in _FULL:
        return StoreFullError
    return StoreUnwritableError if error.errno in _FORBIDDEN else otherwise
