"""Where a plan is written: a file takes the place of a file, and of nothing else."""

import os
import stat
import threading
from pathlib import Path

import pytest

from flowsync.configuration import read_plan_file, write_plan_file
from flowsync.errors import SettingsError


def write(path: Path) -> None:
    write_plan_file(path, [], force=False, max_removal=None)


def test_a_plan_replaces_a_file(tmp_path: Path) -> None:
    path = tmp_path / "plan"
    path.write_text("old")

    write(path)

    assert read_plan_file(path).syncs == []
    assert [each.name for each in tmp_path.iterdir()] == ["plan"]


def test_a_plan_goes_through_a_pipe_that_stays_one(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()

    write(pipe)

    reader.join(30)
    (tmp_path / "copy").write_bytes(read[0])
    assert read_plan_file(tmp_path / "copy").syncs == []
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert {each.name for each in tmp_path.iterdir()} == {"pipe", "copy"}


@pytest.fixture
def device(tmp_path: Path) -> Path:
    """A device of the test's own that takes whatever is written to it."""
    path = tmp_path / "device"
    try:
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3))
        path.write_bytes(b"1")
    except OSError as error:
        pytest.skip(f"no device can be made here: {error}")
    return path


def test_a_device_stays_a_device(device: Path) -> None:
    write(device)

    assert stat.S_ISCHR(device.stat().st_mode)
    assert [each.name for each in device.parent.iterdir()] == ["device"]


def test_a_link_to_a_device_stays_too(device: Path) -> None:
    link = device.with_name("link")
    link.symlink_to(device)

    write(link)

    assert link.is_symlink()
    assert stat.S_ISCHR(device.stat().st_mode)


def test_a_symbolic_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "link"
    link.symlink_to("elsewhere/plan")

    write(link)

    assert link.is_symlink()
    assert read_plan_file(tmp_path / "elsewhere" / "plan").syncs == []


@pytest.mark.parametrize("path", ["", ".", "..", "missing/plan", "file/plan", "nul\0"])
def test_a_place_that_takes_no_plan_is_named(
    tmp_path: Path, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("a file")

    with pytest.raises(SettingsError, match="cannot write the plan"):
        write(Path(path))

    assert [each.name for each in tmp_path.iterdir()] == ["file"]
