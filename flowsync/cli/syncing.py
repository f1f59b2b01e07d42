"""Does what one `flowsync sync` wants in one engine, and tells how each sync ended.

1. A failure keeps no other repository from its sync, nor do settings of it that cannot be used, nor
   a bug in a source; that one keeps its traceback.
2. Every wanted sync gets one result, also when the engine cannot be opened.
3. Alternate sources are asked first as soon as there are any; who records one wants it to be used.
4. What failed is one line on stderr each: the result of another sync may stand between it and the
   end.
"""

import asyncio
import traceback
from collections.abc import Sequence
from typing import Any

import msgspec

import flowsync
from flowsync.cli.display import Display, display
from flowsync.cli.output import format_bytes, json_text
from flowsync.configuration import Configuration, UnusableSync, WantedSync, register_alternates
from flowsync.errors import FlowsyncError, SettingsError
from flowsync.model.repository import SyncResult
from flowsync.model.url import redact

# The result of a sync, in words for people and as JSON for machines.


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


class SyncFlags(msgspec.Struct, frozen=True, kw_only=True):
    """How all syncs of one call are done and told.

    Unless they are `None`, `max_removal` replaces that of the wanted syncs and `workers` that of
    the settings.
    """

    force: bool
    wait: bool
    max_removal: float | None
    as_json: bool
    workers: int | None = None


async def sync_all(
    configuration: Configuration, syncs: Sequence[WantedSync | UnusableSync], flags: SyncFlags
) -> list[SyncResult]:
    """Sync all repositories, as many at a time as the engine lets begin, and return the results in
    the order of `syncs`.
    """
    with display(quiet=flags.as_json, expected=len(syncs)) as shown:
        engine = configuration.engine(flags.workers)
        try:
            acs = await _open(engine, configuration)
        except SettingsError:
            raise
        except FlowsyncError as error:
            shown.complain(str(error))
            return [_tell(_failed(wanted, str(error)), flags, shown) for wanted in syncs]
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(_sync(engine, wanted, flags, shown, acs=acs))
                    for wanted in syncs
                ]
            return [task.result() for task in tasks]
        finally:
            await engine.close()


async def _open(engine: "flowsync.Engine", configuration: Configuration) -> bool:
    """Open the engine with what it needs for alternate sources, and say whether there are any."""
    await engine.open()
    try:
        return await register_alternates(engine, configuration.file)
    except BaseException:
        await engine.close()
        raise


async def _sync(
    engine: "flowsync.Engine",
    wanted: WantedSync | UnusableSync,
    flags: SyncFlags,
    shown: Display,
    *,
    acs: bool,
) -> SyncResult:
    if isinstance(wanted, UnusableSync):
        shown.complain(wanted.reason)
        return _tell(_failed(wanted, wanted.reason), flags, shown)
    try:
        result = await _run(engine, wanted, flags, shown, acs=acs)
    except Exception as error:  # noqa: BLE001 - a bug, most likely in a plugin
        tell_bug(shown, about(wanted), error)
        result = _failed(wanted, str(error) or repr(error))
    return _tell(result, flags, shown)


def declare_sync(
    engine: "flowsync.Engine", wanted: WantedSync, flags: SyncFlags, shown: Display, *, acs: bool
) -> "flowsync.DeclarativeVersion":
    """Return the sync that is wanted, not yet begun, as the flags say. `acs` says whether alternate
    sources are asked for bytes.
    """
    if flags.max_removal is not None:
        wanted = msgspec.structs.replace(wanted, max_removal=flags.max_removal)
    return wanted.declare(
        engine, acs=acs, force=flags.force, wait=flags.wait, observers=(shown.observe,)
    )


async def _run(
    engine: "flowsync.Engine", wanted: WantedSync, flags: SyncFlags, shown: Display, *, acs: bool
) -> SyncResult:
    sync = None
    try:
        sync = declare_sync(engine, wanted, flags, shown, acs=acs)
        await sync.acreate()
    except FlowsyncError as error:
        shown.complain(f"{about(wanted)} failed: {error}")
        result = None if sync is None else sync.result
        return result or _failed(wanted, str(error))
    assert sync.result is not None
    return sync.result


def tell_bug(shown: Display, what: str, error: Exception) -> None:
    """Say that something failed in a way that was not meant, and where."""
    shown.complain(f"{what} failed by a bug: {error!r}")
    shown.note("".join(traceback.format_exception(error)).rstrip("\n"))


def about(wanted: WantedSync) -> str:
    """Return what a sync is called in complaints."""
    return f"sync of {wanted.repository.name} from {redact(wanted.remote.url)}"


def _failed(wanted: WantedSync | UnusableSync, reason: str) -> SyncResult:
    name = wanted.name if isinstance(wanted, UnusableSync) else wanted.repository.name
    return SyncResult(repository=name, error=reason)


def _tell(result: SyncResult, flags: SyncFlags, shown: Display) -> SyncResult:
    for left_out in result.left_out:
        shown.complain(f"{result.repository}: left out {left_out.relative_path}: {left_out.reason}")
    shown.tell(as_json(result) if flags.as_json else as_text(result))
    return result
