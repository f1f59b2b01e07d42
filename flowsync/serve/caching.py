"""How long what is served may be kept, and what it is: the headers that depend on the address alone.

Decided: only a version's number makes a path immutable. A moment does not, although its versions are: the version that was begun before it may still
be at work and show up later, or be deleted.
"""

from mimetypes import MimeTypes
from typing import Final

from flowsync.serve.address import Address

FOR_EVER: Final = "public, max-age=31536000, immutable"
REVALIDATE: Final = "public, no-cache"
NOT_AT_ALL: Final = "no-store"

_TYPES: Final = MimeTypes()
"""The table of the standard library, without the machine's own, so that all processes say the same."""

_PACKED: Final = {
    "gzip": "application/gzip",
    "bzip2": "application/x-bzip2",
    "xz": "application/x-xz",
    "compress": "application/x-compress",
    "br": "application/x-brotli",
}


def cache_control(address: Address) -> str:
    """Return for how long whoever asked for the address may keep the answer."""
    return REVALIDATE if address.number is None else FOR_EVER


def content_type(path: str) -> str:
    """Return the type of a file by its name. Packed files are what they are: nobody shall unpack them on the way."""
    kind, encoding = _TYPES.guess_type(f"/{path}", strict=False)
    if encoding is not None:
        return _PACKED.get(encoding, "application/octet-stream")
    return kind or "application/octet-stream"
