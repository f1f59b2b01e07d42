import os

import pytest

from flowsync.errors import ExportError
from flowsync.store.export import tree
from flowsync.store.export.tree import MARKER, new_tree, publish


@pytest.fixture
def target(tmp_path):
    return str(tmp_path / "target")


def test_a_tree_is_built_beside_its_target_and_begins_with_the_marker(target):
    with new_tree(target, b"{}") as folder:
        assert os.path.dirname(folder) == os.path.dirname(target)
        assert os.listdir(folder) == [MARKER]
        assert not os.path.exists(target)

    assert not os.path.exists(folder)
    assert not os.path.exists(target)


def test_what_stood_there_stands_under_the_name_of_the_new_one(target):
    os.mkdir(target)
    for name in (MARKER, "old"):
        with open(f"{target}/{name}", "xb"):
            pass

    with new_tree(target, b"{}") as folder:
        publish(folder, target)
        assert sorted(os.listdir(folder)) == [MARKER, "old"]
        assert os.listdir(target) == [MARKER]

    assert not os.path.exists(folder)


def test_a_folder_that_was_put_there_during_the_swap_is_put_back(target):
    os.mkdir(target)
    with open(f"{target}/mine", "xb"):
        pass

    with new_tree(f"{target}-other", b"{}") as folder:
        with pytest.raises(ExportError, match="another program put a folder there"):
            tree._exchange_checked(folder, target)
        assert os.listdir(folder) == [MARKER]

    assert os.listdir(target) == ["mine"]


def test_a_folder_without_a_marker_survives_even_under_our_name(target):
    with new_tree(target, b"{}") as folder:
        os.unlink(f"{folder}/{MARKER}")
        with open(f"{folder}/mine", "xb"):
            pass

    assert os.listdir(folder) == ["mine"]


def test_a_marker_that_is_no_file_marks_nothing(target):
    os.makedirs(f"{target}/{MARKER}")

    with pytest.raises(ExportError, match="was not made by an export"):
        with new_tree(target, b"{}"):
            pass
