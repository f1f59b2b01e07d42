import errno
import os
import sys
from pathlib import Path

import pytest

from flowsync.store import kernel

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="calls of Linux")


def test_exchange_swaps_two_folders(tmp_path):
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()

    kernel.exchange(f"{tmp_path}/one", f"{tmp_path}/other")

    assert os.listdir(tmp_path / "one") == ["other"]
    assert os.listdir(tmp_path / "other") == ["one"]


def test_exchange_with_nothing_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="renameat2"):
        kernel.exchange(str(tmp_path), f"{tmp_path}-not")


def test_a_closed_descriptor_is_an_error():
    with pytest.raises(OSError, match="syncfs: Bad file descriptor"):
        kernel.syncfs(-1)
    with pytest.raises(OSError, match="sync_file_range: Bad file descriptor"):
        kernel.wait_written(-1)


def test_the_file_system_of_processes_has_its_own_type():
    assert kernel.file_system_type("/proc") == 0x9FA0


def test_a_call_that_the_library_lacks_is_not_implemented():
    with pytest.raises(OSError, match="this system has no frobnicate") as caught:
        kernel._call("frobnicate")

    assert caught.value.errno == errno.ENOSYS


def test_a_path_that_is_not_ascii_is_passed_as_it_is(tmp_path):
    folder = Path(tmp_path, "größe")
    folder.mkdir()

    assert kernel.file_system_type(str(folder)) == kernel.file_system_type(str(tmp_path))


def test_write_back_that_cannot_begin_is_an_error():
    reading, writing = os.pipe()
    try:
        with pytest.raises(OSError, match="sync_file_range"):
            kernel.begin_writing(writing)
    finally:
        os.close(reading)
        os.close(writing)


def test_write_back_that_was_begun_can_be_waited_for(tmp_path):
    with open(tmp_path / "file", "xb") as file:
        file.write(bytes(1 << 20))
        file.flush()

        kernel.begin_writing(file.fileno())
        kernel.wait_written(file.fileno())

    assert (tmp_path / "file").read_bytes() == bytes(1 << 20)
