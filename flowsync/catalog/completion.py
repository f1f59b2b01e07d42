"""The completion of a version: the one commit that makes it visible, after its units have been found able to coexist (`coexistence.py`).

A version that neither adds nor removes anything is not completed. That is looked at again after additions have replaced older units, because content
that was added on top of a base may lead back to the latest version.

Decided: from `BESIDE` changes on, the root is computed beside the check, because one is work of this process and the other of the server:
the end of a first sync of 200 000 units took 2.0 s, not 3.5.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from flowsync.catalog.coexistence import Coexistence
from flowsync.catalog.version_roots import next_state
from flowsync.catalog.version_session import Start, VersionSession
from flowsync.model.content_set import root_of
from flowsync.model.errors import PlanOutdatedError
from flowsync.model.repository import Repository, RepositoryVersion
from flowsync.pipeline.tasks import task_group

BESIDE: Final = 20_000
"""Changes from which a second connection is worth what it costs: some ms on either side."""


async def complete(
    session: VersionSession,
    repository: Repository,
    start: Start,
    info: Mapping[str, Any],
    expected_root: str | None = None,
) -> RepositoryVersion | None:
    """Complete the version, durably, and return it; discard it and return `None` when it changes nothing.

    Raise a `RepositoryVersionError` when its units cannot coexist, and `PlanOutdatedError` when they are not those of the expected root.
    """
    state: bytes | None = None
    added, removed = await _count_changes(session)
    if added or (removed and start.base_number is not None):
        where = f"repository version {session.number} of {repository.name!r}"
        coexistence = Coexistence(session, where, start)
        await coexistence.collect_additions()
        if await coexistence.replace_content():
            added, removed = await _count_changes(session)
        if added + removed < BESIDE:
            await coexistence.check(repository.allowed_types)
        else:
            async with task_group() as group:
                summing = group.create_task(
                    next_state(session, start.previous, added=added, removed=removed, beside=True)
                )
                await coexistence.check(repository.allowed_types)
            state = summing.result()
    if not added and not removed:
        await session.execute("discard_incomplete")
        return None
    present = start.present + added - removed
    if state is None:
        state = await next_state(session, start.previous, added=added, removed=removed)
    root = root_of(state)
    if expected_root is not None and root.hex() != expected_root:
        raise PlanOutdatedError(
            f"{repository.name!r} was planned to come to root {expected_root[:12]}, but upstream leads to {root.hex()[:12]} now, with {added} added "
            f"and {removed} removed: upstream moved on; nothing was changed, make a new plan"
        )
    encoded = msgspec.json.encode(info).decode()
    ((created,),) = await session.fetch(
        "complete_version",
        info=encoded,
        added=added,
        removed=removed,
        present=present,
        root=root,
        state=state,
    )
    return RepositoryVersion(
        repository=repository.name,
        number=session.number,
        created=created,
        info=msgspec.json.decode(encoded),
        root=root.hex(),
        added=added,
        removed=removed,
        present=present,
    )


async def _count_changes(session: VersionSession) -> tuple[int, int]:
    ((added, removed),) = await session.fetch("count_changes")
    return int(added), int(removed)
