"""The table of a scenario, as text: what each contender took, beside the first row."""

from collections.abc import Sequence
from typing import Final

import msgspec


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One contender: median and least seconds, CPU seconds of all its processes, peak memory of its
    largest process (MiB), rates.

    `sync` has the seconds of the sync alone, as flowsync tells them: without the start and end of
    Python and of the database server, which a daemon does not pay.
    """

    name: str
    seconds: float
    fastest: float
    cpu: float
    peak: float
    units: float
    sync: float | None = None
    megabytes: float | None


_HEADS: Final = (
    *(("wall", 8), ("best", 8), ("sync", 8), ("CPU", 8), ("peak MiB", 9)),
    *(("files/s", 9), ("MB/s", 7), ("time ×", 7)),
)


def as_text(title: str, rows: Sequence[Row]) -> str:
    """Return the table below its title. Times are medians in seconds; the last column is the time
    over that of the first row.
    """
    first = rows[0].seconds
    lines = [f"{'':<20} " + " ".join(f"{head:>{width}}" for head, width in _HEADS)]
    for row in rows:
        rate = "" if row.megabytes is None else f"{row.megabytes:.0f}"
        sync = "" if row.sync is None else f"{row.sync:.2f}"
        lines.append(
            f"{row.name:<20} {row.seconds:>8.2f} {row.fastest:>8.2f} {sync:>8} "
            f"{row.cpu:>8.2f} {row.peak:>9.0f} "
            f"{row.units:>9.0f} {rate:>7} {row.seconds / first:>7.2f}"
        )
    return "\n".join([title, *lines, ""])
