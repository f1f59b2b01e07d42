"""Task groups whose first error comes out as itself.

`asyncio.TaskGroup` wraps every error in a group. A caller of a stage wants the error that happened first, as it was raised, so that
`except TransferError` works; the others are attached to it as notes.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


@asynccontextmanager
async def task_group() -> AsyncIterator[asyncio.TaskGroup]:
    """Open a `TaskGroup`; raise its first error unwrapped. All its tasks have ended when the block has."""
    try:
        async with asyncio.TaskGroup() as group:
            yield group
    except BaseExceptionGroup as failed:
        first, *others = leaves(failed)
    else:
        return
    for other in others:
        first.add_note(f"then also: {other!r}")
    raise first


def leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    """Return the errors of a group and of the groups inside it, in order."""
    found: list[BaseException] = []
    for error in group.exceptions:
        found.extend(leaves(error) if isinstance(error, BaseExceptionGroup) else [error])
    return found
