"""Opens what goes out of a file. Blocks the caller, so it belongs in a thread.

One job opens, compares the size, and reads what is small: a request for a small file costs one way into a thread and back, and no file is left open
for it. What is large stays in the file and goes out from there.
"""

import os
from typing import Final

from flowsync.serve.answer import OpenPart
from flowsync.serve.ranges import Slice

SMALL: Final = 64 * 1024
"""Bytes up to which a part is read at once (bench/serving)."""


def open_part(path: str, size: int, part: Slice) -> bytes | OpenPart | None:
    """Return the part of the file, read or open; `None` when there is no file, or not one of that size: then it is damaged."""
    try:
        file = open(path, "rb", buffering=0)  # noqa: SIM115 - what is not small stays open for the sender
    except FileNotFoundError:
        return None
    try:
        if os.fstat(file.fileno()).st_size != size:
            file.close()
            return None
        if part.count > SMALL:
            return OpenPart(file, part)
        body = os.pread(file.fileno(), part.count, part.offset)
    except BaseException:
        file.close()
        raise
    file.close()
    return body if len(body) == part.count else None
