"""The result of a sync, in words for people and as JSON for machines."""

from typing import Any

import msgspec

from flowsync.cli.formatting import format_bytes
from flowsync.cli.output import json_text
from flowsync.model.repository import SyncResult


def as_json(result: SyncResult) -> str:
    """Return the result as a JSON object in one line. `left_out` is in it only when something was
    left out.
    """
    fields: dict[str, Any] = msgspec.to_builtins(result)
    if not result.left_out:
        del fields["left_out"]
    return json_text(fields)


def as_text(result: SyncResult) -> str:
    """Return the result as one line."""
    if result.error:
        return f"{result.repository}: failed, no version"
    present = f"{result.present} units present"
    if result.skipped:
        return f"{result.repository}: upstream is unchanged, skipped; {present}"
    if result.version is None:
        return f"{result.repository}: no change, no version; {present}; {_effort(result)}"
    return (
        f"{result.repository}: version {result.version}: {result.added} added, "
        f"{result.removed} removed, "
        f"{present}; {_effort(result)}"
    )


def _effort(result: SyncResult) -> str:
    left_out = f"{len(result.left_out)} left out, " if result.left_out else ""
    took = f"in {result.seconds:.1f} s"
    if not result.downloaded:
        return f"{left_out}nothing downloaded {took} ({_rate(result.present, result)} units/s)"
    return (
        f"{left_out}downloaded {result.downloaded} files, {format_bytes(result.bytes)} "
        f"{took} ({_rate(result.downloaded, result)} files/s)"
    )


def _rate(count: int, result: SyncResult) -> str:
    return f"{count / result.seconds:.0f}" if result.seconds else "?"
