"""When a store is taken for that of a catalog."""

from uuid import UUID

import pytest

from flowsync.catalog.postgres.schema import StoreBinding, lock_classes
from flowsync.engine.operations import Evidence, chosen_id

CATALOG, STORE, OTHER = (UUID(int=number) for number in (1, 2, 3))
NEW = StoreBinding(catalog=CATALOG, store=None)
BOUND = StoreBinding(catalog=CATALOG, store=STORE)


def evidence(*facts: str) -> Evidence:
    names = ("has_blobs", "recorded", "has_recorded", "same_home")
    return Evidence(**{name: name in facts for name in names})


FRESH = evidence()
BELONGS = evidence("has_blobs", "recorded", "has_recorded")
ELSEWHERE = evidence("recorded")
STRANGE = evidence("has_blobs")
BOTH_STRANGE = evidence("has_blobs", "recorded")


@pytest.mark.parametrize(
    ("binding", "found", "seen", "chosen"),
    [
        # Two that begin together, and two that were together before stores had ids.
        (NEW, None, FRESH, CATALOG),
        (NEW, None, BELONGS, CATALOG),
        # A second home with the database of the first, and a new database with a home of another.
        (NEW, None, ELSEWHERE, None),
        (NEW, None, STRANGE, None),
        (NEW, None, BOTH_STRANGE, None),
        (BOUND, None, ELSEWHERE, None),
        (BOUND, None, STRANGE, None),
        (BOUND, OTHER, BELONGS, None),
        (NEW, OTHER, FRESH, None),
        (NEW, OTHER, STRANGE, None),
        # A database restored from before it was bound, and one whose start was cut off.
        (NEW, OTHER, BELONGS, OTHER),
        (NEW, CATALOG, FRESH, CATALOG),
        # The file was removed; the store of an embedded database was wiped.
        (BOUND, None, BELONGS, STORE),
        (BOUND, None, evidence("recorded", "same_home"), STORE),
        (BOUND, OTHER, evidence("recorded", "same_home"), None),
    ],
)
def test_store_is_taken_only_where_that_is_safe(
    binding: StoreBinding, found: UUID | None, seen: Evidence, chosen: UUID | None
) -> None:
    assert chosen_id(binding, found, seen) == chosen


def test_new_store_of_a_catalog_without_bytes_gets_an_id_that_no_other_has() -> None:
    assert chosen_id(BOUND, None, FRESH) not in {None, CATALOG, STORE}


def test_locks_of_two_catalogs_differ_and_are_positive_numbers_of_4_bytes() -> None:
    classes = [lock_classes(UUID(int=number)) for number in range(100)]

    numbers = {number for each in classes for number in (each.repositories, each.runs)}
    assert len(numbers) == 200
    assert all(0 <= number < 1 << 31 for number in numbers)
    assert lock_classes(CATALOG) == lock_classes(CATALOG)
