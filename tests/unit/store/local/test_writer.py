import errno
import os
from contextlib import contextmanager

import pytest

from flowsync.errors import StoreError
from flowsync.store.durability import barrier
from flowsync.store.local.shelves import Shelves
from flowsync.store.local.writer import Writer
from flowsync.testing.bodies import HELLO, HELLO_NAME, as_file, in_memory, name_of


class FailingDisk:
    """A disk that fails at one of the two barriers."""

    def __init__(self, at: str) -> None:
        self.at = at

    def files(self, written, staged):
        self._pass("files")

    def folders(self, folders):
        self._pass("folders")

    def _pass(self, what):
        if self.at == what:
            raise OSError(errno.EIO, "Input/output error")


class RecordingDisk:
    """A disk that notes which folders it was to flush."""

    def __init__(self) -> None:
        self.flushed: list[str] = []

    def files(self, written, staged):
        pass

    def folders(self, folders):
        self.flushed += folders


@pytest.fixture
def site(tmp_path):
    shelves = Shelves(str(tmp_path / "blake3"))
    scratch = tmp_path / "staging" / "one"
    scratch.mkdir(parents=True)
    os.mkdir(shelves.root)
    return shelves, str(scratch)


def writer_at(site, open_barrier) -> Writer:
    shelves, scratch = site
    return Writer(
        shelves,
        staging=os.path.dirname(scratch),
        scratch=scratch,
        open_barrier=open_barrier,
    )


@contextmanager
def opened(value):
    yield value


@pytest.mark.parametrize("whole", [True, False])
def test_both_kinds_of_barrier_store_a_batch(site, whole):
    shelves, scratch = site
    writer = writer_at(site, lambda files: barrier(scratch, whole=whole))

    writer.persist([in_memory(HELLO), as_file(scratch, b"file"), in_memory(HELLO)])

    assert shelves.holds(HELLO_NAME, 5)
    assert shelves.holds(name_of(b"file"), 4)
    assert os.listdir(scratch) == []


def test_bytes_that_could_not_be_made_durable_get_no_name(site):
    shelves, scratch = site
    staged = as_file(scratch, b"file")

    with pytest.raises(StoreError, match=r"storing 2 blobs in .*: Input/output error"):
        writer_at(site, lambda files: opened(FailingDisk("files"))).persist(
            [in_memory(HELLO), staged]
        )

    assert shelves.missing([HELLO_NAME, staged.blake3]) == {HELLO_NAME, staged.blake3}
    assert os.listdir(scratch) == [os.path.basename(str(staged.file))]


def test_names_that_could_not_be_made_durable_are_an_error_too(site):
    shelves, scratch = site

    with pytest.raises(StoreError, match="Input/output error"):
        writer_at(site, lambda files: opened(FailingDisk("folders"))).persist([in_memory(HELLO)])

    assert shelves.holds(HELLO_NAME, 5)
    assert os.listdir(scratch) == []


def test_a_blob_that_was_there_passes_the_second_barrier_too(site):
    """Who placed it may not be through with its own."""
    shelves, scratch = site
    writer_at(site, lambda files: barrier(scratch, whole=False)).persist([in_memory(HELLO)])
    disk = RecordingDisk()

    writer_at(site, lambda files: opened(disk)).persist([in_memory(HELLO)])

    assert disk.flushed == [shelves.folder(HELLO_NAME), shelves.root]


def test_the_barrier_knows_how_many_blobs_the_batch_has(site):
    _, scratch = site
    asked = []

    def open_barrier(files):
        asked.append(files)
        return barrier(scratch, whole=False)

    writer_at(site, open_barrier).persist([in_memory(HELLO), in_memory(HELLO), in_memory(b"2")])

    assert asked == [2]
