"""What the catalog says about a database without connecting to it."""

import traceback

import pytest

from flowsync.catalog.postgres.database import Database
from flowsync.errors import SettingsError


@pytest.mark.parametrize(
    ("conninfo", "name"),
    [
        (
            "postgresql://me:secret@db.example.org:5433/sync",
            "database 'sync' at db.example.org:5433",
        ),
        ("postgresql://me:secret@db.example.org", "database 'me' at db.example.org"),
        (
            "host=/run/postgresql port=5432 dbname=sync password=secret",
            "database 'sync' at /run/postgresql",
        ),
        ("hostaddr=127.0.0.1 dbname='my sync'", "database 'my sync' at 127.0.0.1"),
        ("", "the default database at the default host"),
    ],
)
def test_database_is_named_by_host_and_database_only(conninfo: str, name: str) -> None:
    assert Database(conninfo).name == name


@pytest.mark.parametrize(
    "conninfo",
    [
        "postgresql//me:hunter2@host/sync",
        "host=localhost password='hunter2",
        "host=localhost pass=hunter2",
        "postgresql://me:hunt@er2@host/sync",
    ],
)
def test_conninfo_that_cannot_be_used_is_refused_without_its_password(conninfo: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Database(conninfo)

    shown = "".join(traceback.format_exception(caught.value))
    assert "hunt" not in shown
    assert "er2" not in shown
