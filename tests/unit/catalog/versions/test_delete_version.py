"""Which version tells the changes of deleted ones, and which versions a repository does not
retain.
"""

import pytest

from flowsync.catalog.versions.versions import Squash, plan_retention, plan_squash


@pytest.mark.parametrize(
    ("deleted", "plan"),
    [
        pytest.param(set(), Squash([], []), id="none"),
        pytest.param({3}, Squash([3], [4]), id="in the middle"),
        pytest.param({0, 1}, Squash([1, 0], [3, 3]), id="the oldest two"),
        pytest.param({4}, Squash([4], [None]), id="the newest"),
        pytest.param({0, 3, 4}, Squash([4, 3, 0], [None, None, 1]), id="old and new"),
    ],
)
def test_deleted_versions_give_way_to_the_next_kept_one(deleted: set[int], plan: Squash) -> None:
    assert plan_squash([0, 1, 3, 4], deleted) == plan


@pytest.mark.parametrize(
    ("protected", "retain", "gone"),
    [
        pytest.param(set(), 1, {0, 1, 3}, id="the newest stays"),
        pytest.param(set(), 2, {0, 1}, id="the newest two stay"),
        pytest.param(set(), 9, set(), id="fewer than are retained"),
        pytest.param({1}, 1, {0, 3}, id="a protected one comes on top"),
        pytest.param({4}, 1, {0, 1}, id="a protected newest one does not count"),
        pytest.param({0, 1, 3, 4}, 1, set(), id="all protected"),
    ],
)
def test_the_newest_unprotected_versions_stay(
    protected: set[int], retain: int, gone: set[int]
) -> None:
    versions = [(number, number in protected) for number in (0, 1, 3, 4)]

    assert set(plan_retention(versions, retain).deleted) == gone
