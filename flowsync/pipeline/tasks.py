"""Task groups whose first error comes out as itself.

`asyncio.TaskGroup` wraps every error in a group. A caller of a stage wants the error that happened first, as it was raised, so that
`except TransferError` works; the others are attached to it as notes.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from traceback import clear_frames


@asynccontextmanager
async def task_group() -> AsyncIterator[asyncio.TaskGroup]:
    """Open a `TaskGroup`; raise its first error unwrapped. All its tasks have ended when the block has."""
    try:
        async with asyncio.TaskGroup() as group:
            yield group
    except BaseExceptionGroup as failed:
        errors = leaves(failed)
        break_ring(failed, keep=errors)
    else:
        return
    try:
        raise _first_of(errors)
    finally:
        del errors


def break_ring(group: BaseExceptionGroup[BaseException], *, keep: Sequence[BaseException]) -> None:
    """Let go of what the groups of nested `TaskGroup`s hold, except the errors to `keep`.

    The frame in which a `TaskGroup` raised stays in a ring with its error, in all Pythons up to 3.13.0 at least. Until the garbage collector finds
    it, the ring keeps alive whatever the failed tasks had in hand, such as the bodies of all downloads.
    """
    for error in (group, *group.exceptions):
        if error not in keep:
            clear_frames(error.__traceback__)


def leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    """Return the errors of a group and of the groups inside it, in order."""
    found: list[BaseException] = []
    for error in group.exceptions:
        found.extend(leaves(error) if isinstance(error, BaseExceptionGroup) else [error])
    return found


def _first_of(errors: list[BaseException]) -> BaseException:
    first, *others = errors
    for other in others:
        first.add_note(f"then also: {other!r}")
    return first
