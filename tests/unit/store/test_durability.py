import os
from pathlib import Path

import pytest

from flowsync.store import durability
from flowsync.store.durability import barrier, barriers, flush_tree, make_folder, trusts_syncfs

TMPFS = Path("/dev/shm")


@pytest.mark.parametrize(
    ("release", "trusted"),
    [
        ("5.8.0", True),
        ("5.10.0-28-amd64", True),
        ("6.1", True),
        ("10.0.1", True),
        ("5.7.19", False),
        ("4.4.0", False),
        ("5-custom", False),
        ("custom", False),
        ("", False),
    ],
)
def test_syncfs_is_trusted_from_linux_5_8_on(release, trusted):
    assert durability._at_least(release, (5, 8)) is trusted


@pytest.mark.skipif(not TMPFS.is_dir(), reason="no tmpfs at /dev/shm")
def test_syncfs_is_not_trusted_on_other_file_systems():
    assert trusts_syncfs(str(TMPFS)) is False


def test_syncfs_is_not_trusted_where_nothing_is():
    assert trusts_syncfs("/nowhere") is False


@pytest.mark.parametrize("whole", [True, False])
def test_a_barrier_flushes_files_and_folders(tmp_path, whole):
    written, staged = tmp_path / "written", tmp_path / "staged"
    written.write_bytes(b"1")
    staged.write_bytes(b"2")

    with barrier(str(tmp_path), whole=whole) as durable:
        durable.files([str(written)], [str(staged)])
        durable.folders([str(tmp_path)])


@pytest.mark.parametrize("whole", [True, False])
def test_a_staged_file_that_is_gone_stops_the_batch(tmp_path, whole):
    with barrier(str(tmp_path), whole=whole) as durable, pytest.raises(FileNotFoundError):
        durable.files([], [str(tmp_path / "gone")])


def test_small_batches_are_flushed_file_by_file(tmp_path):
    open_barrier = barriers(str(tmp_path))
    many = durability._WholeFileSystem if trusts_syncfs(str(tmp_path)) else durability._EachAlone

    with open_barrier(7) as small, open_barrier(8) as large:
        assert isinstance(small, durability._EachAlone)
        assert isinstance(large, many)


def test_folders_are_made_with_their_parents(tmp_path):
    make_folder(f"{tmp_path}/a/b/c")
    make_folder(f"{tmp_path}/a/b/c")

    assert (tmp_path / "a" / "b" / "c").is_dir()


def test_a_file_in_the_place_of_a_folder_is_an_error(tmp_path):
    (tmp_path / "a").touch()

    with pytest.raises(FileExistsError):
        make_folder(f"{tmp_path}/a")
    with pytest.raises(FileExistsError):
        make_folder(f"{tmp_path}/a/b")


@pytest.mark.skipif(not TMPFS.is_dir(), reason="no tmpfs at /dev/shm")
@pytest.mark.parametrize("whole", [True, False])
def test_a_tree_is_flushed_with_or_without_syncfs(tmp_path, whole):
    folder = tmp_path if whole else TMPFS / f"flowsync-test-{os.getpid()}"
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "a" / "b" / "file").write_bytes(b"1")
    try:
        flush_tree(str(folder))
    finally:
        (folder / "a" / "b" / "file").unlink()
        os.removedirs(folder / "a" / "b")
