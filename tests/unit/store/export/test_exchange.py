import os

import pytest

from flowsync.store.export.tree import exchange, exchange_by_renames


@pytest.fixture
def folders(tmp_path):
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"was-{name}").touch()
    return f"{tmp_path}/one", f"{tmp_path}/other", f"{tmp_path}/aside"


@pytest.mark.parametrize("swap", [exchange, exchange_by_renames])
def test_two_folders_swap_their_names(folders, swap):
    one, other, aside = folders

    swap(one, other, aside)

    assert os.listdir(one) == ["was-other"]
    assert os.listdir(other) == ["was-one"]
    assert not os.path.exists(aside)


def test_the_first_rename_is_taken_back_when_the_second_fails(folders):
    one, other, aside = folders

    with pytest.raises(FileNotFoundError):
        exchange_by_renames(f"{one}-not", other, aside)

    assert os.listdir(other) == ["was-other"]
    assert not os.path.exists(aside)


def test_an_error_that_is_no_lack_of_the_call_passes(folders):
    one, other, aside = folders

    with pytest.raises(FileNotFoundError):
        exchange(f"{one}-not", other, aside)

    assert os.listdir(other) == ["was-other"]
