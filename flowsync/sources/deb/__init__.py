"""The deb source: archives of Debian packages, as apt reads them."""

from flowsync.sources.deb.content import DebFile, DebIndex, DebPackage, DebRelease, DebSource
from flowsync.sources.deb.kind import SOURCE
from flowsync.sources.deb.options import DebOptions

__all__ = [
    "SOURCE",
    "DebFile",
    "DebIndex",
    "DebOptions",
    "DebPackage",
    "DebRelease",
    "DebSource",
]
