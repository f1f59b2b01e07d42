"""Files for stored artifacts that a stage awaits, where the store has no local files."""

import os
from collections.abc import Awaitable, Callable

from msgspec.structs import replace

from flowsync.declare import DeclarativeContent
from flowsync.model.artifact import StoredArtifact
from flowsync.runtime.threads import in_thread
from flowsync.stages.context import RunContext
from flowsync.store.staging import bring, has_local_files

Bring = Callable[[DeclarativeContent], Awaitable[None]]
"""Makes files of the stored bytes of a unit, for those who await it."""


def bringer(context: RunContext) -> Bring | None:
    """Return what makes files of stored bytes in the staging folder of the run; `None` where stored
    artifacts have files of the store.
    """
    if has_local_files(context.store):
        return None

    async def bring_bytes(content: DeclarativeContent) -> None:
        lacking = {
            str(declared.artifact.blake3)
            for declared in content.d_artifacts
            if isinstance(declared.artifact, StoredArtifact) and declared.artifact.file is None
        }
        # The folder goes with its run; those who ask later are told by `StoredArtifact.open`.
        if not lacking or not await in_thread(os.path.isdir, context.staging):
            return
        files = await bring(context.store, lacking, context.staging)
        for declared in content.d_artifacts:
            artifact = declared.artifact
            if isinstance(artifact, StoredArtifact) and artifact.file is None:
                name = str(artifact.blake3)
                # Where the store has lost them stands a file that is not there, so that opening it
                # says so.
                file = files.get(name, f"{context.staging}/{name}")
                declared.artifact = replace(artifact, file=file)

    return bring_bytes
