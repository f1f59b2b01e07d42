"""Sends a part of a file over a connection without bringing it into the process.

1. What the transport still holds is to be out first; then the kernel is told to send from the file
   until its buffer is full, and again when there is room.
2. Each call to the kernel is a thread's, because it waits for the disk; waiting for the client is
   the loop's, and holds no thread.
3. A client that takes nothing for `stall` seconds is given up.

Decisions: docs/decisions/0016.
"""

import asyncio
import errno
import os
import socket
import stat
import struct
from contextlib import suppress
from typing import Final

from flowsync.runtime.tasks import in_thread
from flowsync.serve.http.answer import OpenPart, Unreadable
from flowsync.serve.http.request import Slice

_PIECE: Final = 4 << 20
"""Bytes of one call: as much as a connection's buffer takes at most."""


_RESET: Final = struct.pack("ii", 1, 0)
"""Lets a connection end by a reset (`SO_LINGER`)."""

_OF_THE_FILE: Final = frozenset({errno.EIO, errno.EBADMSG, errno.EUCLEAN, errno.ESTALE})
"""What the kernel says when it cannot read a file."""

_BY_HAND: Final = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})
"""What it says when a file system cannot hand its files to a connection."""


class StalledClientError(ConnectionError):
    """The client took nothing for too long."""


class UnreadableFileError(Exception):
    """The file cannot be read from `offset` on; what is before it was sent."""

    def __init__(self, offset: int, reason: str) -> None:
        super().__init__(offset, reason)
        self.offset, self.reason = offset, reason


async def send_part(number: int, body: OpenPart, stall: float) -> None:
    """Send the part over the connected, non-blocking socket of that number, which nobody else
    writes to meanwhile.

    Raise `ConnectionError` when the client is gone or takes nothing for `stall` seconds, and
    `UnreadableFileError` when the file cannot be read or has become shorter.
    """
    # A descriptor of our own stays valid whatever becomes of the transport, and may be watched
    # beside it.
    connection = os.dup(number)
    try:
        offset, end = body.part.offset, body.part.end
        while offset < end:
            try:
                sent = await in_thread(_send, connection, body.file.fileno(), offset, end - offset)
            except OSError as error:
                if error.errno in _OF_THE_FILE:
                    raise UnreadableFileError(offset, str(error.strerror)) from error
                raise
            if sent is None:
                await _room(connection, stall)
            elif sent == 0:
                raise UnreadableFileError(offset, "it has become shorter")
            else:
                offset += sent
    finally:
        os.close(connection)


def reset(transport: asyncio.Transport) -> None:
    """End a connection by a reset, and not in order: what was sent of an answer is not its end."""
    if transport.is_closing():
        return
    # What belongs to the connection, and not to a descriptor of it, can be set by a copy.
    number = os.dup(transport.get_extra_info("socket").fileno())
    with suppress(OSError), socket.socket(fileno=number) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    transport.abort()


def _send(connection: int, file: int, offset: int, count: int) -> int | None:
    try:
        return os.sendfile(connection, file, offset, min(count, _PIECE))
    except BlockingIOError:
        return None
    except OSError as error:
        if error.errno not in _BY_HAND:
            raise
    try:
        return os.write(connection, os.pread(file, min(count, _PIECE), offset))
    except BlockingIOError:
        return None


async def _room(connection: int, stall: float) -> None:
    loop = asyncio.get_running_loop()
    room = loop.create_future()
    loop.add_writer(connection, _tell, room)
    try:
        async with asyncio.timeout(stall):
            await room
    except TimeoutError as error:
        raise StalledClientError(f"the client took nothing for {stall:g} s") from error
    finally:
        loop.remove_writer(connection)


def _tell(room: "asyncio.Future[None]") -> None:
    if not room.done():
        room.set_result(None)


# Opens what goes out of a file. Blocks the caller, so it belongs in a thread.
#
# One job opens, compares the size, and reads what is small: a request for a small file costs one
# way into a thread and back, and no file is left open for it. What is large stays in the file and
# goes out from there.
#
# What cannot be opened or read is as good as missing, whatever the reason. Only what is scarce,
# such as descriptors, says nothing of the file.

SMALL: Final = 64 * 1024
"""Bytes up to which a part is read at once (bench/serving)."""

SCARCE: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EAGAIN})
"""What the system says when it is short of something."""


def open_part(path: str, size: int, part: Slice) -> bytes | OpenPart | Unreadable:
    """Return the part of the file, read or open, or why it cannot be had: one of another size is
    damaged. Raise `OSError` when something is scarce.
    """
    try:
        return _open_part(path, size, part)
    except FileNotFoundError as error:
        return Unreadable(_said(error), there=False)
    except OSError as error:
        if error.errno in SCARCE:
            raise
        return Unreadable(_said(error), there=True)


def open_whole(path: str, size: int) -> int:
    """Open a file, and return its descriptor. Raise `OSError`, also when it is no file or not one
    of that size.
    """
    # What stands there may be no file: opening a pipe must not wait.
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "it is no file", path)
        if found.st_size != size:
            raise OSError(errno.EINVAL, f"it has {found.st_size} of {size} bytes", path)
    except BaseException:
        os.close(file)
        raise
    return file


def _open_part(path: str, size: int, part: Slice) -> bytes | OpenPart:
    # What is not small stays open for the sender.
    file = os.fdopen(open_whole(path, size), "rb", buffering=0)
    if part.count > SMALL:
        return OpenPart(file, part)
    with file:
        body = os.pread(file.fileno(), part.count, part.offset)
    if len(body) < part.count:
        raise OSError(errno.EINVAL, "it has become shorter", path)
    return body


def _said(error: OSError) -> str:
    return error.strerror or repr(error)
