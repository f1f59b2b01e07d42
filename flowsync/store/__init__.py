"""The content-addressed store: bytes under their BLAKE3 name, durable before anyone records
them.
"""

from flowsync.store.export.folder_export import ExportReport, export_tree
from flowsync.store.local.store import LocalBlobStore
from flowsync.store.port import BlobReader, BlobState, BlobStore, StoreUsage
from flowsync.store.staging import bring

__all__ = [
    "BlobReader",
    "BlobState",
    "BlobStore",
    "ExportReport",
    "LocalBlobStore",
    "StoreUsage",
    "bring",
    "export_tree",
]
