"""Plans in a file: what `flowsync plan --output` writes and `flowsync sync --plan` carries out.

1. The file says what was asked for and what it comes to: arguments, base, counts and roots; not
   which files, because the root stands for all of them.
2. It holds no secret. Of a repository of `flowsync.toml` it keeps only the name and the choices to
   compare, of options a digest; credentials and options are read from there again.
"""

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from flowsync.configuration.settings_file import RepositorySettings, SettingsFile, Share
from flowsync.configuration.wanted_syncs import (
    NO_OVERRIDES,
    Overrides,
    WantedSync,
    syncs_of,
)
from flowsync.errors import SettingsError
from flowsync.model.remote import Policy
from flowsync.model.reports import SyncPlan
from flowsync.model.repository import ErrorPolicy
from flowsync.stages.upstream import options_digest

FORMAT: Final = 1


class PlannedSync(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One sync that was planned. `configured` ones are of `flowsync.toml`, the others of the
    command line. `options` tells the options of the kind from others.
    """

    configured: bool
    repository: str
    source: str
    url: str
    mirror: bool
    policy: Policy
    on_error: ErrorPolicy
    options: str = ""
    plan: SyncPlan


class PlanFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that one `flowsync plan` planned, with the options that it had for all. `overrides` are
    options of the kinds, as in `syncs_of`.
    """

    format: int
    force: bool
    max_removal: Share | None
    overrides: dict[str, list[str]] = {}
    syncs: list[PlannedSync]


def planned_sync(wanted: WantedSync, found: SyncPlan, *, configured: bool) -> PlannedSync:
    """Return what is written of one plan."""
    return PlannedSync(
        configured=configured,
        repository=wanted.repository.name,
        source=wanted.source.name,
        url=wanted.remote.url,
        mirror=wanted.mirror,
        policy=wanted.remote.policy,
        on_error=wanted.on_error,
        options=options_digest([wanted.options]),
        plan=found,
    )


def write_plan_file(
    path: Path,
    syncs: Sequence[PlannedSync],
    *,
    force: bool,
    max_removal: float | None,
    overrides: Overrides = NO_OVERRIDES,
) -> None:
    """Write the file, whole or not at all. What is there and no file, such as a terminal or a pipe,
    stays, and the plan is written to it; a symbolic link is followed. Raise `SettingsError` when
    that cannot be done.
    """
    content = PlanFile(
        format=FORMAT,
        force=force,
        max_removal=max_removal,
        overrides={name: list(texts) for name, texts in overrides.items()},
        syncs=list(syncs),
    )
    if not path.name:
        raise SettingsError(f"cannot write the plan {str(path)!r}: it names no file")
    written = msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n"
    try:
        if _is_special(path):
            _write_to(path, written)
        else:
            _replace(Path(os.path.realpath(path)), written)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise SettingsError(f"cannot write the plan {path}: {reason}") from error


def _is_special(path: Path) -> bool:
    """Say whether something is there that a file cannot take the place of."""
    try:
        return not stat.S_ISREG(path.stat().st_mode)
    except FileNotFoundError:
        return False


def _write_to(path: Path, content: bytes) -> None:
    # Never made anew, should it be gone by now.
    with open(os.open(path, os.O_WRONLY | os.O_NOCTTY), "wb") as file:
        file.write(content)


def _replace(path: Path, content: bytes) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_bytes(content)
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise


def read_plan_file(path: Path) -> PlanFile:
    """Read a file. Raise `SettingsError` when it cannot be read or understood."""
    try:
        content = msgspec.json.decode(path.read_bytes(), type=PlanFile)
    except OSError as error:
        raise SettingsError(f"cannot read the plan {path}: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise SettingsError(f"{path} is no plan of this flowsync: {error}") from error
    if content.format != FORMAT:
        raise SettingsError(f"{path}: the plan has format {content.format}, expected {FORMAT}")
    return content


def syncs_of_plan(content: PlanFile, file: SettingsFile) -> list[WantedSync]:
    """Return the syncs of a plan, to be done as planned. Raise `SettingsError` when `flowsync.toml`
    says something else by now.
    """
    return [
        msgspec.structs.replace(_wanted(sync, file, content.overrides), dry_run=sync.plan)
        for sync in content.syncs
    ]


def _wanted(sync: PlannedSync, file: SettingsFile, overrides: Overrides) -> WantedSync:
    if not sync.configured:
        (wanted,) = syncs_of({sync.repository: _settings(sync)}, None, overrides)
        return wanted
    known = file.repositories.get(sync.repository)
    if known is None:
        raise SettingsError(f"repository {sync.repository!r} of the plan is not in flowsync.toml")
    (wanted,) = syncs_of({sync.repository: known}, file, overrides)
    if planned_sync(wanted, sync.plan, configured=True) != sync:
        raise SettingsError(
            f"{file.path}: repository {sync.repository!r} was changed since it was planned; "
            "make a new plan"
        )
    return wanted


def _settings(sync: PlannedSync) -> RepositorySettings:
    return RepositorySettings(
        source=sync.source,
        url=sync.url,
        mirror=sync.mirror,
        policy=sync.policy,
        on_error=sync.on_error,
    )
