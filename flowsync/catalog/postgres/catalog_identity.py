"""What tells one catalog from another: an id of its own, after which its locks are named, and the
id of the store with its bytes.

Two catalogs may live in two schemas of one database, where advisory locks are common to all. So the
first number of each lock comes from the id of the catalog.
"""

import hashlib
from uuid import UUID

import msgspec


class LockClasses(msgspec.Struct, frozen=True, kw_only=True):
    """First numbers of a catalog's advisory locks.

    For `repositories` the second number is the repository's id, or 0 for the lock that all holders
    share; for `runs` it is the run's number.
    """

    repositories: int
    runs: int


def lock_classes(catalog: UUID) -> LockClasses:
    """Return the lock classes of a catalog. They are positive, because the server shows them as
    unsigned numbers.
    """
    digest = hashlib.sha256(catalog.bytes).digest()
    first, second = (int.from_bytes(digest[at : at + 4]) & 0x7FFFFFFF for at in (0, 4))
    return LockClasses(repositories=first, runs=second)


class StoreBinding(msgspec.Struct, frozen=True, kw_only=True):
    """The id of a catalog, and that of its store once one was opened with it."""

    catalog: UUID
    store: UUID | None

    @property
    def expected(self) -> UUID:
        """The id that the store of the catalog has, or gets."""
        return self.store or self.catalog
