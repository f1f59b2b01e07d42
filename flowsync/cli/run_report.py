"""Records of runs in words for people and as JSON for machines."""

from datetime import datetime
from typing import Any

import msgspec

from flowsync.cli.display import has_something_to_tell
from flowsync.cli.output import format_bytes, json_text, one_line, visible_line
from flowsync.model.events import Reading
from flowsync.model.reports import Run
from flowsync.model.repository import LeftOut

HEADER = (
    f"{'run':>6}  {'repository':<20}  {'state':<9}  {'started':<19}  {'took':>9}  what came of it"
)


def as_json(run: Run) -> str:
    """Return the record as a JSON object in one line."""
    return json_text(run)


def left_out_as_json(run: Run, left_out: LeftOut) -> str:
    """Return one left-out artifact as a JSON object in one line, which names its run."""
    fields: dict[str, Any] = {"run": run.number, **msgspec.to_builtins(left_out)}
    return json_text(fields)


def as_row(run: Run) -> str:
    """Return the record as one line below `HEADER`."""
    return (
        f"{run.number:>6}  {run.repository:<20}  {run.state:<9}  {format_time(run.started)}  "
        f"{_took(run):>9}  {what_came_of(run)}"
    )


def as_text(run: Run) -> list[str]:
    """Return the record as lines, up to what it left out."""
    terms = run.terms
    options = ["mirror" if terms.mirror else "only adds", f"on error {terms.on_error}"]
    options += ["forced"] if terms.force else []
    options += [f"as planned, root {terms.planned[:12]}"] if terms.planned else []
    lines = [f"run {run.number} of {run.repository}: {run.state}, {what_came_of(run)}"]
    lines += [f"by        {run.actor or '?'}"]
    lines += [
        f"from      {source.url} (remote {source.remote}, {source.policy})"
        for source in terms.sources
    ]
    lines += [f"how       {', '.join(options)}"]
    lines += [f"started   {format_time(run.started)}"]
    if run.ended is None:
        lines += [f"last seen {format_time(run.seen)}"]
    else:
        lines += [f"ended     {format_time(run.ended)}, after {_took(run)}"]
    lines += [f"progress  {_reading(one)}" for one in run.progress if has_something_to_tell(one)]
    lines += [f"left out  {run.left_out}"] if run.left_out else []
    return lines


def left_out_as_text(left_out: LeftOut) -> str:
    """Return one left-out artifact as an indented line."""
    return (
        f"  {visible_line(left_out.relative_path)}: {one_line(left_out.reason)} ({left_out.action})"
    )


def what_came_of(run: Run) -> str:
    """Return in a few words what a run came to, or how far it is."""
    if run.error is not None:
        return one_line(run.error)
    if run.state in {"running", "lost"}:
        made = "" if run.version is None else f"; version {run.version} is complete"
        return f"{_last_step(run)}{made}"
    left_out = f"; {run.left_out} left out" if run.left_out else ""
    result = run.result or {}
    if run.version is None:
        return f"{'upstream is unchanged' if run.state == 'skipped' else 'no change'}{left_out}"
    return (
        f"version {run.version}: {result.get('added', 0)} added, {result.get('removed', 0)} "
        "removed; "
        f"{result.get('downloaded', 0)} files, {format_bytes(result.get('bytes', 0))} "
        f"downloaded{left_out}"
    )


def format_time(moment: datetime) -> str:
    """Return a moment in the local time, to the second."""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _took(run: Run) -> str:
    return "?" if run.ended is None else f"{(run.ended - run.started).total_seconds():.1f} s"


def _last_step(run: Run) -> str:
    told = [reading for reading in run.progress if has_something_to_tell(reading)]
    return _reading(told[-1]) if told else "no progress recorded yet"


def _reading(reading: Reading) -> str:
    total = "" if reading.total is None else f"/{reading.total}"
    size = f", {format_bytes(reading.size)}" if reading.size else ""
    return f"{reading.message} {reading.done}{total}{size} ({reading.state})"
