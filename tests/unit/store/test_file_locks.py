import os

import pytest

from flowsync.store.staging import claim


def test_a_lock_can_be_had_once(tmp_path):
    path = f"{tmp_path}/lock"

    first = claim(path, os.O_CREAT)
    assert first is not None
    assert claim(path) is None
    os.close(first)
    second = claim(path)

    assert second is not None
    os.close(second)


def test_a_lock_file_that_is_gone_cannot_be_claimed(tmp_path):
    assert claim(f"{tmp_path}/lock") is None


def test_a_lock_file_cannot_be_made_in_a_folder_that_is_gone(tmp_path):
    with pytest.raises(FileNotFoundError):
        claim(f"{tmp_path}/gone/lock", os.O_CREAT)


def test_a_lock_file_that_was_removed_by_its_owner_is_nobodys(tmp_path):
    """What happens between open and flock: the owner removes the file and gives the lock back."""
    path = f"{tmp_path}/lock"
    owner = claim(path, os.O_CREAT)
    assert owner is not None
    waiting = os.open(path, os.O_RDWR)
    os.unlink(path)
    os.close(owner)

    assert claim(f"/proc/self/fd/{waiting}") is None
    os.close(waiting)
