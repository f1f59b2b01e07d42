"""The completion of a version: the one commit that makes it visible, after its units have been
found able to coexist (`content_rules.py`).

A version that neither adds nor removes anything is not completed. What is remembered of upstream is
written all the same, over the session that holds the repository: whoever waited for it finds it.
That nothing changes is looked at again after additions have replaced older units, because content
that was added on top of a base may lead back to the latest version.

Decisions: docs/decisions/0003.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from flowsync.catalog.versions.content_rules import Coexistence
from flowsync.catalog.versions.new_version import NewVersion
from flowsync.catalog.versions.roots import next_state
from flowsync.catalog.versions.session import Start, VersionSession
from flowsync.errors import PlanOutdatedError
from flowsync.model.content_set import root_of
from flowsync.model.repository import Repository, RepositoryVersion
from flowsync.runtime.task_groups import task_group

BESIDE: Final = 20_000
"""Changes from which a second connection is worth what it costs: some ms on either side."""


async def complete(
    session: VersionSession, repository: Repository, start: Start, version: NewVersion
) -> RepositoryVersion | None:
    """Complete `version`, durably, and return it as it was recorded; discard it and return `None`
    when it changes nothing.

    Raise a `RepositoryVersionError` when its units cannot coexist, and `PlanOutdatedError` when
    they are not those of its expected root.
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
                    next_state(session, start, added=added, removed=removed, beside=True)
                )
                await coexistence.check(repository.allowed_types)
            state = summing.result()
    if not added and not removed:
        await _change_nothing(session, version)
        return None
    present = start.present + added - removed
    if state is None:
        state = await next_state(session, start, added=added, removed=removed)
    root = root_of(state)
    expected = version.expected_root
    if expected is not None and root.hex() != expected:
        raise PlanOutdatedError(
            f"{repository.name!r} was planned to come to root {expected[:12]}, but upstream "
            f"leads to {root.hex()[:12]} now, with {added} added "
            f"and {removed} removed: upstream moved on, or has artifacts without a digest, "
            "which only a download tells apart; "
            "nothing was changed, make a new plan"
        )
    info = msgspec.json.encode(version.info).decode()
    ((created,),) = await session.fetch(
        "complete_version",
        info=info,
        last_sync=_encoded(version.this_sync(session.number)),
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
        info=msgspec.json.decode(info),
        root=root.hex(),
        added=added,
        removed=removed,
        present=present,
    )


async def _change_nothing(session: VersionSession, version: NewVersion) -> None:
    await session.execute("discard_incomplete")
    last_sync = _encoded(version.this_sync(version.previous))
    if last_sync is not None:
        await session.execute("remember_sync", last_sync=last_sync)


def _encoded(details: Mapping[str, Any] | None) -> str | None:
    return None if details is None else msgspec.json.encode(details).decode()


async def _count_changes(session: VersionSession) -> tuple[int, int]:
    ((added, removed),) = await session.fetch("count_changes")
    return int(added), int(removed)
