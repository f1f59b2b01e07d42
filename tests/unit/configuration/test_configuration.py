import re
import subprocess
import sys
from pathlib import Path

import pytest

from flowsync.configuration import (
    Configuration,
    UnusableSync,
    WantedSync,
    read_configuration,
    syncs_of,
)
from flowsync.errors import SettingsError

README = Path(__file__).parents[3] / "README.md"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give an empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read(folder: Path, text: str, environ: dict[str, str] | None = None) -> Configuration:
    (folder / "flowsync.toml").write_text(text)
    return read_configuration(environ={"XDG_DATA_HOME": "/data", **(environ or {})})


def test_without_anything_the_home_is_in_the_users_data_folder(folder: Path) -> None:
    configuration = read_configuration(environ={"XDG_DATA_HOME": "/data"})

    assert (configuration.home, configuration.database_url) == (Path("/data/flowsync"), None)
    assert configuration.file.repositories == {}


def test_arguments_win_over_the_file_and_need_none_of_its_variables(folder: Path) -> None:
    (folder / "flowsync.toml").write_text('home = "env:HERE"\ndatabase_url = "env:DATABASE"\n')

    configuration = read_configuration(home="given", database_url="postgresql://db/", environ={})

    assert (configuration.home, configuration.database_url) == (
        folder / "given",
        "postgresql://db/",
    )


def test_the_environment_wins_over_the_file_and_arguments_over_the_environment(
    folder: Path,
) -> None:
    (folder / "other.toml").write_text('home = "of the file"\nmax_connections = 3\n')
    environ = {
        "FLOWSYNC_HOME": "/of/the/environment",
        "FLOWSYNC_CONFIG": "other.toml",
        "FLOWSYNC_DATABASE_URL": "postgresql://environment/",
    }

    found = read_configuration(environ=environ)
    given = read_configuration(home="/given", database_url="postgresql://given/", environ=environ)

    assert (found.home, found.database_url) == (
        Path("/of/the/environment"),
        "postgresql://environment/",
    )
    assert (given.home, given.database_url) == (Path("/given"), "postgresql://given/")
    assert found.file.settings.max_connections == 3


@pytest.mark.parametrize("field", ["home", "config", "database_url"])
def test_an_empty_argument_is_an_error_and_an_empty_variable_is_none(
    folder: Path, field: str
) -> None:
    environ = {"HOME": str(folder), "XDG_DATA_HOME": str(folder / "data")}
    variable = {f"FLOWSYNC_{field.upper()}": ""}

    with pytest.raises(SettingsError, match="empty"):
        read_configuration(**{field: ""}, environ=environ)

    assert read_configuration(environ=environ | variable) == read_configuration(environ=environ)


def test_wanted_syncs_of_names_come_in_their_order_and_an_unknown_one_is_an_error(
    folder: Path,
) -> None:
    table = '[repositories.{}]\nsource = "file"\nurl = "http://h/"\n'
    configuration = read(folder, "".join(map(table.format, "abc")))

    chosen = configuration.wanted_syncs(["c", "a"])

    assert [one.repository.name for one in chosen if isinstance(one, WantedSync)] == ["c", "a"]
    assert len(configuration.wanted_syncs()) == 3
    with pytest.raises(SettingsError, match=r"no repository 'd' in .*; it has: a, b, c"):
        configuration.wanted_syncs(["a", "d"])


def test_a_repository_that_cannot_be_synced_stands_apart_and_alone_is_an_error(
    folder: Path,
) -> None:
    configuration = read(
        folder,
        '[repositories.a]\nsource = "file"\nurl = "http://h/"\n'
        '[repositories.b]\nsource = "tape"\nurl = "http://h/"\n',
    )

    _, apart = configuration.wanted_syncs()

    assert isinstance(apart, UnusableSync)
    assert apart.name == "b"
    assert "repository 'b': there is no source 'tape'" in apart.reason
    with pytest.raises(SettingsError, match="there is no source 'tape'"):
        configuration.wanted_syncs(["b"])


@pytest.mark.parametrize("field", ["home", "database_url"])
def test_a_variable_that_is_needed_and_not_set_is_named(folder: Path, field: str) -> None:
    with pytest.raises(SettingsError, match="the environment variable HERE is not set"):
        read(folder, f'{field} = "env:HERE"\n')


def test_a_file_in_the_working_directory_goes_before_one_in_the_home(folder: Path) -> None:
    home = folder / "home"
    home.mkdir()
    (home / "flowsync.toml").write_text("max_connections = 1")
    at_home = read_configuration(home="home", environ={})
    (folder / "flowsync.toml").write_text("max_connections = 2")

    here = read_configuration(home="home", environ={})

    assert at_home.file.settings.max_connections == 1
    assert here.file.settings.max_connections == 2


def test_relative_paths_are_relative_to_the_file(folder: Path) -> None:
    configuration = read(
        folder,
        'home = "kept"\nallowed_roots = ["up"]\n[repositories.a]\nsource = "file"\n'
        'url = "https://h/"\n'
        'remote = { ca_cert = "ca.pem", client_cert = "/abs.pem", client_key = "-----BEGIN KEY" }',
    )

    (wanted,) = syncs_of(configuration.file.repositories, configuration.file)
    assert configuration.home == folder / "kept"
    assert configuration.file.resolved("up") == folder / "up"
    assert wanted.remote.ca_cert == str(folder / "ca.pem")
    assert (wanted.remote.client_cert, wanted.remote.client_key) == ("/abs.pem", "-----BEGIN KEY")


def test_a_wanted_sync_has_all_that_the_file_says(folder: Path) -> None:
    configuration = read(
        folder,
        '[repositories.a]\nsource = "file"\nurl = "https://h/"\nmirror = true\n'
        'policy = "streamed"\n'
        'on_error = "skip"\nmax_errors = 5\nmax_removal = 1\nallowed_types = ["file"]\n'
        'remote = { headers = [["X-Team", "env:TEAM"]], max_retries = 7 }',
        {"TEAM": "blue"},
    )

    (wanted,) = syncs_of(configuration.file.repositories, configuration.file)

    assert (wanted.repository.name, wanted.repository.allowed_types) == ("a", frozenset({"file"}))
    assert (wanted.mirror, wanted.on_error, wanted.max_errors, wanted.max_removal) == (
        True,
        "skip",
        5,
        1,
    )
    assert (wanted.remote.name, wanted.remote.url, wanted.remote.policy) == (
        "a",
        "https://h/",
        "streamed",
    )
    assert (wanted.remote.headers, wanted.remote.max_retries) == ([("X-Team", "blue")], 7)


def test_limits_of_what_is_in_flight_are_the_librarys_unless_the_file_says_others(
    folder: Path,
) -> None:
    unset = read(folder, "").engine()
    given = read(folder, "in_flight_bytes = 1000\nin_flight_items = 7\n").engine()

    assert (unset.in_flight_bytes, unset.in_flight_items) == (1 << 30, 2000)
    assert (given.in_flight_bytes, given.in_flight_items) == (1000, 7)


def test_the_settings_of_the_readme_can_be_used_as_they_stand(folder: Path) -> None:
    (text,) = re.findall(r"```toml\n(.*?)```", README.read_text(), flags=re.DOTALL)

    configuration = read(folder, text, {"FLOWSYNC_DB": "postgresql://db/", "TOOLS_PASSWORD": "x"})

    assert configuration.home == Path("/srv/flowsync")
    assert configuration.database_url == "postgresql://db/"
    assert len(syncs_of(configuration.file.repositories, configuration.file)) >= 1


@pytest.mark.parametrize(
    ("own", "default", "seconds"),
    [
        ('timeout = "4h"', "", 14400),
        ("timeout = 90", "", 90),
        ("timeout = 1.5", 'timeout = "1d"', 1.5),
        ("", 'timeout = "30m"', 1800),
        ("", "", None),
    ],
)
def test_the_timeout_of_a_repository_is_its_own_or_the_default(
    folder: Path, own: str, default: str, seconds: float | None
) -> None:
    configuration = read(
        folder,
        f'[defaults]\n{default}\n[repositories.a]\nsource = "file"\nurl = "http://h/"\n{own}\n',
    )

    (wanted,) = syncs_of(configuration.file.repositories, configuration.file)

    assert wanted.timeout == seconds


@pytest.mark.parametrize("value", ['"soon"', "0", "-5", "nan", "inf", '"0s"', '""'])
@pytest.mark.parametrize("table", ["defaults", "repositories.a"])
def test_a_timeout_that_is_no_duration_is_refused(folder: Path, value: str, table: str) -> None:
    with pytest.raises(
        SettingsError, match=r"timeout: .* is no duration such as 90, '30m' or '4h'"
    ):
        read(
            folder,
            f'[repositories.a]\nsource = "file"\nurl = "http://h/"\n[{table}]\ntimeout = {value}\n'
            if table == "defaults"
            else f'[repositories.a]\nsource = "file"\nurl = "http://h/"\ntimeout = {value}\n',
        )


def test_a_timeout_may_come_from_the_environment(folder: Path) -> None:
    text = '[repositories.a]\nsource = "file"\nurl = "http://h/"\ntimeout = "env:LIMIT"\n'
    with_it = read(folder, text, {"LIMIT": "2m"})
    without = read(folder, text)

    (wanted,) = syncs_of(with_it.file.repositories, with_it.file)

    assert wanted.timeout == 120
    with pytest.raises(SettingsError, match="the environment variable LIMIT is not set"):
        syncs_of(without.file.repositories, without.file)


def test_the_room_loads_neither_network_nor_database_nor_console() -> None:
    program = "import sys, flowsync.configuration; print(*sys.modules)"

    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    loaded = {name.partition(".")[0] for name in run.stdout.split()}
    assert "flowsync" in loaded
    assert loaded & {"aiohttp", "click", "psycopg", "psycopg_pool", "rich"} == set()
