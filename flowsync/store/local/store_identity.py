"""The id of a store: one line in a file of its folder, which says what the store is called in the
catalog of its bytes.
"""

import os
import tempfile
from uuid import UUID

from flowsync.errors import StoreError
from flowsync.store.durability import flush
from flowsync.store.failures import store_errors


def identity_file(root: str) -> str:
    """Return where the id of the store in the folder is kept."""
    return f"{root}/identity"


def read_identity(root: str) -> UUID | None:
    """Return the id of the store, if it has one. Raise `StoreError` when it cannot be read."""
    path = identity_file(root)
    with store_errors(f"reading the id of the store in {root}"):
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                text = file.read(100).strip()
        except FileNotFoundError:
            return None
    try:
        return UUID(text)
    except ValueError:
        raise StoreError(f"{path} holds no id of a store, found {text!r}") from None


def write_identity(root: str, identity: UUID) -> None:
    """Give the store an id, durably. Raise `StoreError` when it cannot be written."""
    path = identity_file(root)
    with store_errors(f"writing the id of the store in {root}"):
        handle, fresh = tempfile.mkstemp(prefix=".identity-", dir=root)
        try:
            with open(handle, "w", encoding="utf-8") as file:
                file.write(f"{identity}\n")
            flush(fresh)
            os.replace(fresh, path)
        except BaseException:
            os.unlink(fresh)
            raise
        flush(root)
