import os

import pytest

from flowsync.store.staging import claim, remove_dead, staging_folder


def test_a_staging_folder_is_private_and_goes_afterwards(tmp_path):
    with staging_folder(str(tmp_path)) as folder:
        (tmp_path / folder / "file").touch()
        assert os.stat(folder).st_mode & 0o777 == 0o700
        assert os.path.dirname(folder) == str(tmp_path)

    assert os.listdir(tmp_path) == []


def test_a_staging_folder_that_is_held_is_not_removed(tmp_path):
    with staging_folder(str(tmp_path)) as folder:
        remove_dead(str(tmp_path))

        assert os.path.isdir(folder)


def test_a_folder_whose_lock_can_be_had_is_removed(tmp_path):
    (tmp_path / "dead" / "below").mkdir(parents=True)
    (tmp_path / "dead" / "below" / "file").touch()
    (tmp_path / "dead.lock").touch()
    # Died before it made its folder.
    (tmp_path / "early.lock").touch()

    remove_dead(str(tmp_path))

    assert os.listdir(tmp_path) == []


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError), staging_folder(f"{tmp_path}/nowhere"):
        pass


def test_the_lock_is_held_as_long_as_the_folder_lives(tmp_path):
    with staging_folder(str(tmp_path)) as folder:
        assert claim(f"{folder}.lock") is None
