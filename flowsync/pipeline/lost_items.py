"""Items that could not be handed on: the one record of them, which pipeline, channels and stages
share.

A task that puts an item may be one that nobody awaits, so raising there is not enough. What is
noted here fails the pipeline, or, after its end, the completion of the version that it made.
"""

import asyncio

from flowsync.errors import PipelineError


class Losses:
    """The first error of an item that could not be handed on. Made by a pipeline, which it
    outlives.
    """

    __slots__ = ("error", "told")

    def __init__(self) -> None:
        self.error: PipelineError | None = None
        self.told = asyncio.Event()

    def note(self, error: PipelineError) -> PipelineError:
        """Keep `error`, if it is the first, tell the pipeline, and return it."""
        if self.error is None:
            self.error = error
            self.told.set()
        return error
