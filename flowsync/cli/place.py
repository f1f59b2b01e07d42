"""Where flowsync keeps its things, as the options and the environment say it. Light, because
`--help` waits for it.
"""

import msgspec


class GlobalOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The options before the name of a command; `None` leaves the choice to `flowsync.toml` and the
    defaults.
    """

    home: str | None = None
    config: str | None = None
    database_url: str | None = None
