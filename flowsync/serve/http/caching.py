"""How long what is served may be kept, and what it is: the headers that depend on the address
alone.

Decisions: docs/decisions/0016.
"""

from mimetypes import MimeTypes
from typing import Final

REVALIDATE: Final = "public, no-cache"

_TYPES: Final = MimeTypes()
"""The table of the standard library, without the machine's own, so that all processes say
the same.
"""

_PACKED: Final = {
    "gzip": "application/gzip",
    "bzip2": "application/x-bzip2",
    "xz": "application/x-xz",
    "compress": "application/x-compress",
    "br": "application/x-brotli",
}


def content_type(path: str) -> str:
    """Return the type of a file by its name. Packed files are what they are: nobody shall unpack
    them on the way.
    """
    kind, encoding = _TYPES.guess_type(f"/{path}", strict=False)
    if encoding is not None:
        return _PACKED.get(encoding, "application/octet-stream")
    return kind or "application/octet-stream"
