"""Connection texts: taken apart, and shown without any part of a password."""

import traceback

import pytest

from flowsync.catalog.postgres.sessions import described, parsed, shown
from flowsync.errors import SettingsError


@pytest.mark.parametrize(
    ("conninfo", "text", "name"),
    [
        (
            "postgresql://me:secret@db:5433/flowsync?sslmode=require",
            "postgresql://db:5433/flowsync",
            "database 'flowsync' at db:5433",
        ),
        ("postgres://db/flowsync", "postgres://db/flowsync", "database 'flowsync' at db"),
        (
            "postgresql://me:secret@one:1,two:2,[::1]/sync",
            "postgresql://one:1,two:2,::1/sync",
            "database 'sync' at one:1, two:2, ::1",
        ),
        (
            "postgresql://me:secret@one,two:2/sync",
            "postgresql://one,two:2/sync",
            "database 'sync' at one, two:2",
        ),
        (
            "host=one,two port=5433 password='se cret' dbname=sync",
            "postgresql://one:5433,two:5433/sync",
            "database 'sync' at one:5433, two:5433",
        ),
        (
            "host=one,two port=1,2 password=secret",
            "postgresql://one:1,two:2/",
            "the default database at one:1, two:2",
        ),
        (
            "postgresql:///flowsync?host=/run/a@b&password=secret",
            "postgresql:///flowsync?host=/run/a@b",
            "database 'flowsync' at /run/a@b",
        ),
        (
            "host=/srv/a@b/pg18 port=5432 dbname=sync",
            "postgresql:///sync?host=/srv/a@b/pg18",
            "database 'sync' at /srv/a@b/pg18",
        ),
        (
            "postgresql://me:p%2Fa%40s%23s%3F@db/sync",
            "postgresql://db/sync",
            "database 'sync' at db",
        ),
        ("postgresql://me:p?a#ss@db/sync", "postgresql://db/sync", "database 'sync' at db"),
        (
            "postgresql://me@db/sync?application_name=a@b",
            "postgresql://db/sync",
            "database 'sync' at db",
        ),
    ],
)
def test_servers_and_database_are_all_that_is_shown(conninfo: str, text: str, name: str) -> None:
    assert shown(conninfo) == text
    assert described(parsed(conninfo)) == name


@pytest.mark.parametrize(
    "conninfo",
    [
        "postgresql://me:hunt/er2@db/sync",
        "postgresql://me:12/er2@db/sync",
        "postgresql://me:hunt@er2@db/sync",
        "postgresql://me:x@hunt/er2@db/sync",
        "postgresql://me:hunt%er2@db/sync",
        "postgresql://me:x@hunt?er2@db/sync",
        "postgresql://me:1/hunt?user=er2@db/sync",
        "postgresql://me:x@hunt/er2?user=x@db/sync",
        "postgresql://me:hunt/er2@one:1,two:2/sync",
        "postgresql://:hunt/er2@db/sync",
        "postgresql://me:hunt/er2",
        "postgresql//me:hunt@host/sync",
        "host=localhost password='hunt",
        "host=localhost password=x hunt",
        "dbname=postgresql://me:hunter2@db/sync",
        "dbname='host=db password=hunter2'",
        "mysql://me:hunt/er2@db/sync",
    ],
)
def test_what_cannot_be_understood_shows_its_scheme_alone(conninfo: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parsed(conninfo)

    told = "".join(traceback.format_exception(caught.value)) + shown(conninfo)
    assert "hunt" not in told
    assert "er2" not in told
    assert "percent-encode" in str(caught.value)
