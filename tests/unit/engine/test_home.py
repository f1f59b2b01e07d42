import os
import subprocess
import sys
from pathlib import Path

import pytest

from flowsync.engine.home import default_home, make_home
from flowsync.errors import StoreUnwritableError

# The interpreter has read all it needs before it becomes a user that has no home and that no file
# knows.
WITHOUT_HOME = """
import os
from flowsync.errors import SettingsError
from flowsync.engine.home import default_home
os.environ.pop("HOME", None)
os.setuid(54321)
try:
    default_home({})
except SettingsError as error:
    print(error)
"""


def test_default_home_is_in_the_users_data_folder() -> None:
    assert default_home({"XDG_DATA_HOME": "/data"}) == Path("/data/flowsync")
    assert default_home({}) == Path.home() / ".local" / "share" / "flowsync"


def test_a_relative_data_folder_does_not_count() -> None:
    assert default_home({"XDG_DATA_HOME": "data"}) == default_home({})


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become a user that nobody knows")
def test_a_user_without_a_home_folder_is_asked_for_one() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_HOME], capture_output=True, text=True, check=True
    )

    assert "name one with --home or FLOWSYNC_HOME" in done.stdout


def test_make_home_creates_it_with_its_parents_and_takes_it_as_it_is(tmp_path: Path) -> None:
    home = tmp_path / "a" / "b"

    make_home(home)
    make_home(home)

    assert home.is_dir()


def test_make_home_names_what_cannot_be_created(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(StoreUnwritableError, match=r"file/home: Not a directory"):
        make_home(tmp_path / "file" / "home")
