"""What a holder says before it holds anything."""

from pathlib import Path

import pytest

from flowsync.embedded_postgres.server import EmbeddedPostgres, refuse_other_systems
from flowsync.errors import CatalogUnavailableError, EmbeddedPostgresError


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_other_systems_are_refused_with_a_way_out(platform: str) -> None:
    with pytest.raises(EmbeddedPostgresError) as caught:
        refuse_other_systems(platform)

    assert str(caught.value) == (
        f"embedded PostgreSQL: starting a server: this system is {platform}, it works on Linux "
        "only; set FLOWSYNC_DATABASE_URL to a PostgreSQL server"
    )


def test_there_is_no_connection_before_the_start(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / "database")

    with pytest.raises(
        CatalogUnavailableError, match=r"connecting to .*/database: it was not start"
    ):
        server.conninfo()


def test_stop_before_the_start_does_nothing(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / "database")

    assert server.stop() is False
    assert not (tmp_path / "database").exists()


def test_looking_starts_nothing(tmp_path: Path) -> None:
    (tmp_path / "pg18").mkdir()
    (tmp_path / "pg18" / "PG_VERSION").write_text("18\n")
    server = EmbeddedPostgres(tmp_path)

    assert server.data_folder == tmp_path / "pg18"
    assert server.is_running() is False
    assert [path.name for path in tmp_path.iterdir()] == ["pg18"]


def test_links_to_one_folder_are_one_server(tmp_path: Path) -> None:
    (tmp_path / "database").mkdir()
    (tmp_path / "link").symlink_to("database")

    assert EmbeddedPostgres(tmp_path / "link").folder == tmp_path / "database"
