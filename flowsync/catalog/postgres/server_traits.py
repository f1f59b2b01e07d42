"""What a server and its database must be like, looked up in what the server tells of itself when a
session begins: no question is asked.
"""

from typing import Final

from psycopg import ConnectionInfo

from flowsync.errors import CatalogUnavailableError, UnfitDatabaseError

_OLDEST: Final = 15
"""The oldest major version that the statements of the catalog are written for."""


def expect_fitting(info: ConnectionInfo, name: str) -> None:
    """Raise `UnfitDatabaseError` when the database `name` cannot hold a catalog,
    `CatalogUnavailableError` when it takes no writes now.
    """
    major = info.server_version // 10_000
    if major < _OLDEST:
        raise UnfitDatabaseError(
            f"{name}: the server is PostgreSQL {major}, flowsync needs {_OLDEST} or later"
        )
    encoding = info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise UnfitDatabaseError(
            f"{name}: its encoding is {encoding}, which cannot hold every name; flowsync "
            "needs UTF8: "
            "CREATE DATABASE flowsync ENCODING 'UTF8' TEMPLATE template0"
        )
    if info.parameter_status("in_hot_standby") == "on":
        raise CatalogUnavailableError(
            f"{name}: the server is a standby and takes no writes; "
            "target_session_attrs=read-write chooses among several hosts"
        )
