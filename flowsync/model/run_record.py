"""Runs as they are recorded: what a sync was asked to do, how far it came, how it ended."""

from datetime import datetime
from typing import Any

import msgspec

from flowsync.model.events import Reading
from flowsync.model.remote import Policy
from flowsync.model.repository import ErrorPolicy, RunState


class RunSource(msgspec.Struct, frozen=True, kw_only=True):
    """A remote that a run was made from. `url` is redacted."""

    remote: str
    url: str
    policy: Policy


class RunTerms(msgspec.Struct, frozen=True, kw_only=True):
    """The options of a run, and its remotes. `planned` is the root that it was to come to, of a run
    that carried a plan out.
    """

    mirror: bool = False
    force: bool = False
    on_error: ErrorPolicy = "fail"
    sources: tuple[RunSource, ...] = ()
    planned: str | None = None


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """The record of one run. `actor` is user, machine and process; `seen` is when the progress was
    written last.

    `state` is "lost" when the process is gone without having said how the run ended; `version` is
    the number of the version that it made, which may have been deleted since; `left_out` counts
    what it could not have.
    """

    number: int
    repository: str
    state: RunState
    actor: str
    terms: RunTerms
    started: datetime
    seen: datetime
    ended: datetime | None
    version: int | None
    progress: tuple[Reading, ...]
    result: dict[str, Any] | None
    error: str | None
    left_out: int
