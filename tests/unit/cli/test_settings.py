import pytest

from flowsync.cli.main import GlobalOptions
from flowsync.cli.settings import load


@pytest.mark.parametrize(("database_url", "left"), [(None, False), ("postgresql://db/", True)])
def test_only_a_server_of_the_users_is_looked_up_in_the_environment(
    database_url: str | None, left: bool
) -> None:
    environ = {"PGSERVICE": "nowhere", "XDG_DATA_HOME": "/data"}

    load(GlobalOptions(config=None, database_url=database_url), environ)

    assert ("PGSERVICE" in environ) is left
