"""Where a server listens, and the connection string that leads there."""

import os
import socket
import tempfile
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import Conninfo

from flowsync.embedded_postgres.ownership import SystemUser
from flowsync.embedded_postgres.sockets import (
    conninfo,
    listener,
    planned_socket_folder,
    prepare_socket_folder,
    refusal,
    remove_socket_folder,
)
from flowsync.errors import EmbeddedPostgresError


def test_socket_lies_in_the_cluster() -> None:
    assert planned_socket_folder(Path("/srv/my home/pg18")) == Path("/srv/my home/pg18")


def test_longest_address_is_107_bytes() -> None:
    # With "/.s.PGSQL.5432", 14 bytes.
    fits = Path("/" + 92 * "x")
    too_long = Path("/" + 93 * "x")

    assert planned_socket_folder(fits) == fits
    assert planned_socket_folder(too_long).parent == Path(tempfile.gettempdir())


def test_length_is_counted_in_bytes() -> None:
    assert planned_socket_folder(Path("/" + 50 * "é")).parent == Path(tempfile.gettempdir())


@pytest.mark.parametrize(
    "name", ["a,b", "a@b", "@", "a%41", "it's", 'a"b', "a\\b", "a\nb", "é", "\udcff", "a$b", "a:b"]
)
def test_path_that_could_be_taken_for_something_else_is_no_address(name: str) -> None:
    assert planned_socket_folder(Path("/srv", name)).parent == Path(tempfile.gettempdir())


def test_two_clusters_never_share_a_socket_folder() -> None:
    assert planned_socket_folder(Path("/a,b")) != planned_socket_folder(Path("/a,c"))


def test_no_place_for_the_socket_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/" + 90 * "t")

    with pytest.raises(
        EmbeddedPostgresError, match=r"more than 107 bytes, .*; set TMPDIR to a shorter"
    ):
        planned_socket_folder(Path("/a,b"))


def test_socket_folder_is_closed_to_others_and_removed_again(tmp_path: Path) -> None:
    folder = tmp_path / "aside"

    prepare_socket_folder(folder, tmp_path / "pg18", SystemUser())
    prepare_socket_folder(folder, tmp_path / "pg18", SystemUser())

    assert folder.stat().st_mode & 0o777 == 0o700
    remove_socket_folder(folder, tmp_path / "pg18")
    assert not folder.exists()


def test_socket_folder_that_is_open_to_others_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "aside"
    folder.mkdir(mode=0o755)

    with pytest.raises(EmbeddedPostgresError, match=r"it exists, belongs to user .* drwxr-xr-x"):
        prepare_socket_folder(folder, tmp_path / "pg18", SystemUser())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a folder of another user")
def test_socket_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "aside"
    folder.mkdir(mode=0o700)
    os.chown(folder, 12345, 12345)

    with pytest.raises(EmbeddedPostgresError, match="it exists, belongs to user 12345"):
        prepare_socket_folder(folder, tmp_path / "pg18", SystemUser())


def test_link_in_the_place_of_the_socket_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir(mode=0o700)
    (tmp_path / "aside").symlink_to(tmp_path / "target")

    with pytest.raises(EmbeddedPostgresError, match="lrwxrwxrwx"):
        prepare_socket_folder(tmp_path / "aside", tmp_path / "pg18", SystemUser())


def test_connection_string_survives_spaces_quotes_and_backslashes() -> None:
    awkward = Path('/srv/it\'s "a" \\ home')

    found = conninfo_to_dict(conninfo(awkward, "o'db"))

    assert found["host"] == '/srv/it\'s "a" \\ home'
    assert (found["hostaddr"], found["port"]) == ("", "5432")
    assert (found["user"], found["dbname"]) == ("postgres", "o'db")


def test_connection_string_leaves_no_parameter_to_the_environment() -> None:
    found = conninfo_to_dict(conninfo(Path("/srv"), "db"))

    from_variables = {
        option.keyword.decode() for option in Conninfo.get_defaults() if option.envvar
    }
    # A service is looked up in any case; to name one would only make it a must.
    assert from_variables - set(found) == {"service"}


def test_listener_is_the_process_that_listens(tmp_path: Path) -> None:
    assert listener(tmp_path) is None
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / ".s.PGSQL.5432"))
        assert listener(tmp_path) is None

        server.listen()

        assert listener(tmp_path) == os.getpid()
    assert listener(tmp_path) is None


def test_refusal_says_what_was_found(tmp_path: Path) -> None:
    found = refusal(tmp_path)

    assert found is not None
    assert f'connection to server on socket "{tmp_path}/.s.PGSQL.5432" failed' in found
