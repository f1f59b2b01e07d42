"""Plans in a file: what `flowsync plan --output` writes and `flowsync sync --plan` carries out.

1. The file says what was asked for and what it comes to: arguments, base, counts and roots; not
   which files, because the root stands for all of them.
2. It holds no secret. Of a repository of `flowsync.toml` it keeps only the name and the choices to
   compare; credentials are read from there again.
"""

import os
from pathlib import Path

import msgspec

from flowsync.cli.plans import WantedSync, plans
from flowsync.cli.settings_file import RepositorySettings, SettingsFile
from flowsync.errors import SettingsError
from flowsync.model.plan import SyncPlan
from flowsync.model.remote import Policy
from flowsync.model.repository import ErrorPolicy

FORMAT = 1


class PlannedSync(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One sync that was planned. `configured` ones are of `flowsync.toml`, the others of the
    command line.
    """

    configured: bool
    repository: str
    source: str
    url: str
    mirror: bool
    policy: Policy
    on_error: ErrorPolicy
    plan: SyncPlan


class PlanFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that one `flowsync plan` planned, with the options that it had for all."""

    format: int
    force: bool
    max_removal: float | None
    syncs: list[PlannedSync]


def planned(plan: WantedSync, found: SyncPlan, *, configured: bool) -> PlannedSync:
    """Return what is written of one plan."""
    return PlannedSync(
        configured=configured,
        repository=plan.repository.name,
        source=plan.source.name,
        url=plan.remote.url,
        mirror=plan.mirror,
        policy=plan.remote.policy,
        on_error=plan.on_error,
        plan=found,
    )


def write_plan_file(path: Path, content: PlanFile) -> None:
    """Write the file, whole or not at all. Raise `SettingsError` when that cannot be done."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_bytes(msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n")
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise SettingsError(f"cannot write the plan {path}: {error.strerror}") from error


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


def plans_of(content: PlanFile, file: SettingsFile) -> list[WantedSync]:
    """Return the syncs of a plan, to be done as planned. Raise `SettingsError` when `flowsync.toml`
    says something else by now.
    """
    return [msgspec.structs.replace(_plan(sync, file), planned=sync.plan) for sync in content.syncs]


def _plan(sync: PlannedSync, file: SettingsFile) -> WantedSync:
    if not sync.configured:
        (plan,) = plans({sync.repository: _settings(sync)})
        return plan
    known = file.repositories.get(sync.repository)
    if known is None:
        raise SettingsError(f"repository {sync.repository!r} of the plan is not in flowsync.toml")
    (plan,) = plans({sync.repository: known}, file)
    if planned(plan, sync.plan, configured=True) != sync:
        raise SettingsError(
            f"{file.path}: repository {sync.repository!r} was changed since it was planned; make a new plan"
        )
    return plan


def _settings(sync: PlannedSync) -> RepositorySettings:
    return RepositorySettings(
        source=sync.source,
        url=sync.url,
        mirror=sync.mirror,
        policy=sync.policy,
        on_error=sync.on_error,
    )
