"""Opens a part of a blob to be sent: from its file where the store has local ones, or as it comes
from the store.
"""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack

from flowsync.errors import BlobMissingError, StoreError
from flowsync.runtime.threads import opened_in_thread
from flowsync.serve.files.reading import SMALL, open_part
from flowsync.serve.files.sending import UnreadableFileError
from flowsync.serve.http.answer import Flow, OpenPart, Unreadable
from flowsync.serve.http.ranges import Slice
from flowsync.store.port import BlobReader, BlobStore


async def open_file(path: str, size: int, part: Slice) -> bytes | OpenPart | Unreadable:
    """Return the part of a file, as `open_part` does in a thread."""
    return await opened_in_thread(open_part, path, size, part, close=_close)


async def open_stored(
    store: BlobStore, name: str, size: int, part: Slice
) -> bytes | OpenPart | Flow | Unreadable:
    """Return the part of the blob, read, open, or as it comes, or why it cannot be had: one of
    another size than `size` is damaged.

    A flow raises `UnreadableFileError` when the blob cannot be read to the end of the part.
    """
    path = store.local(name)
    if path is not None:
        return await open_file(path, size, part)
    try:
        return await _open_reader(store, name, size, part)
    except BlobMissingError as error:
        return Unreadable(str(error), there=False)
    except StoreError as error:
        return Unreadable(str(error), there=True)
    except UnreadableFileError as error:
        return Unreadable(error.reason, there=True)


async def _open_reader(
    store: BlobStore, name: str, size: int, part: Slice
) -> bytes | Flow | Unreadable:
    async with AsyncExitStack() as held:
        reader = await held.enter_async_context(store.reading(name, part.offset, part.end))
        if reader.size != size:
            return Unreadable(f"it has {reader.size} of {size} bytes", there=True)
        pieces = _pieces(reader, part)
        if part.count <= SMALL:
            return b"".join([piece async for piece in pieces])
        return Flow(pieces, held.pop_all().aclose)


async def _pieces(reader: BlobReader, part: Slice) -> AsyncGenerator[bytes, None]:
    offset = part.offset
    try:
        async for chunk in reader.chunks:
            yield chunk
            offset += len(chunk)
    except StoreError as error:
        raise UnreadableFileError(offset, str(error)) from error
    if offset != part.end:
        raise UnreadableFileError(offset, "it has become shorter")


def _close(body: bytes | OpenPart | Unreadable) -> None:
    if isinstance(body, OpenPart):
        body.file.close()
