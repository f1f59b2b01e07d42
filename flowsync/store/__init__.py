"""The content-addressed store: bytes under their BLAKE3 name, durable before anyone records them."""

from flowsync.store.blobs import BlobState, BlobStore, StoreUsage
from flowsync.store.export import ExportReport, export_tree
from flowsync.store.local import LocalBlobStore

__all__ = ["BlobState", "BlobStore", "ExportReport", "LocalBlobStore", "StoreUsage", "export_tree"]
