"""Worker processes that answer questions: bytes go out, bytes come back, what they mean is not
known here.

1. The work is a plain function of a module, `bytes -> bytes`. It must bear to be done twice.
   Large messages travel as files (`flowsync.runtime.messages`).
2. At most `slots` questions are on their way, over all who ask; the others wait in order.
3. A worker that dies takes its crew down; another crew starts, and the questions that were on their
   way are asked again, each with no other on its way, so that one which kills workers harms no
   other for long. At its third loss it is given up.
4. Whoever is cancelled takes its question back. If it has begun, the worker is told, and waited
   for; one that does not listen is killed with its crew, and the questions of others are asked
   again. So nothing that a caller started outlives it.
5. Nothing blocks the loop: processes start and end in a thread. The pool may be opened and closed
   in different tasks.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from concurrent.futures import BrokenExecutor
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Final, Self

from flowsync.errors import PipelineError, SettingsError, StoreError, WorkersLostError
from flowsync.runtime import messages as parcel
from flowsync.runtime.messages import Work
from flowsync.runtime.process_pool import Crew
from flowsync.runtime.threads import in_thread

PATIENCE: Final = 5.0
"""Much more than the moment that a worker needs to hear of it, less than a person waits for
Ctrl-C.
"""

_MAX_LOSSES: Final = 3


class WorkerPool:
    """The worker processes of an engine: shared by all its pipelines, used from one event loop.

    The processes start with the first question, or when `start_soon` says so. `warm_up` is called
    in each; it imports what the work needs. `patience` is how many seconds a worker has to stop
    when nobody wants its answer any more.
    """

    def __init__(
        self, workers: int, warm_up: Callable[[], object], *, patience: float = PATIENCE
    ) -> None:
        if workers < 1:
            raise SettingsError(f"a pool needs at least 1 worker, found {workers}")
        self.workers = workers
        self.slots = workers + 1
        self._warm_up = warm_up
        self._patience = patience
        self._room = asyncio.Semaphore(self.slots)
        self._alone = asyncio.Lock()
        self._crew: Crew | None = None
        self._broken: Crew | None = None
        self._starting: asyncio.Task[Crew] | None = None
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    @property
    def pids(self) -> tuple[int, ...]:
        """The process ids of the workers; empty before they have started."""
        return self._crew.pids if self._crew else ()

    def start_soon(self) -> None:
        """Let the workers start in the background, unless they have."""
        if self._crew is None and self._starting is None and not self._closed:
            self._starting = asyncio.create_task(
                _next_crew(self._broken, self.workers, self._warm_up)
            )
            self._starting.add_done_callback(self._crew_started)
            self._broken = None

    async def ask(
        self,
        work: Work,
        question: bytes,
        folder: str,
        take_back: Callable[[], None] = lambda: None,
    ) -> bytes:
        """Return what `work` answers in a worker. Raise what it raises, and `WorkersLostError` when
        workers die of it or cannot be had.

        `folder`, which workers must see, takes large messages on their way. `take_back` is called
        when the caller is cancelled; it tells the worker that the answer is not wanted any more.
        """
        path = f"{folder}/parcel-{uuid.uuid4().hex}"
        try:
            sent: bytes | None = question
            if not parcel.fits(question, path):
                await _write(path, question)
                sent = None
            outcome = await self._ask_until_answered(work, sent, path, take_back)
            if outcome is None:
                return await in_thread(parcel.unpack, outcome, path)
            return parcel.unpack(outcome, path)
        finally:
            # Nobody writes there any more: whoever was asked has answered, was stopped, or is dead.
            parcel.remove(path)

    async def _ask_until_answered(
        self, work: Work, sent: bytes | None, path: str, take_back: Callable[[], None]
    ) -> bytes | None:
        losses: list[BrokenExecutor] = []
        while len(losses) < _MAX_LOSSES:
            async with self._slot(alone=bool(losses)):
                try:
                    return await self._ask_once(work, sent, path, take_back)
                except BrokenExecutor as error:
                    losses.append(error)
        raise WorkersLostError(
            f"the worker processes were lost {_MAX_LOSSES} times over the same work, at last with {losses[-1]!r}"
        ) from losses[-1]

    async def close(self) -> None:
        """End the workers and wait for them. Closing twice is closing once."""
        self._closed = True
        if self._starting is not None:
            await asyncio.wait([self._starting])
        crews = [crew for crew in (self._broken, self._crew) if crew is not None]
        self._broken = self._crew = None
        for crew in crews:
            await crew.stop()

    @asynccontextmanager
    async def _slot(self, *, alone: bool) -> AsyncIterator[None]:
        """Hold one slot, or all of them."""
        if not alone:
            async with self._room:
                yield
            return
        # One at a time, or two would each hold some slots and wait for the rest.
        async with self._alone:
            held = 0
            try:
                while held < self.slots:
                    await self._room.acquire()
                    held += 1
                yield
            finally:
                for _ in range(held):
                    self._room.release()

    async def _ask_once(
        self, work: Work, sent: bytes | None, path: str, take_back: Callable[[], None]
    ) -> bytes | None:
        crew = await self._running_crew()
        try:
            answered = crew.submit(parcel.carry_out, work, sent, path)
        except BrokenExecutor:  # a worker died while it was idle
            self._retire(crew)
            raise
        try:
            await asyncio.wait([answered])
        except asyncio.CancelledError:
            answered.add_done_callback(_retrieve)
            take_back()
            if not crew.take_back(answered):
                await self._wait_for_stop(crew, answered)
            raise
        try:
            return answered.result()
        except BrokenExecutor:
            self._retire(crew)
            raise

    async def _running_crew(self) -> Crew:
        if self._closed:
            raise PipelineError("work was sent to worker processes that are closed")
        self.start_soon()
        if self._starting is not None:
            starting = self._starting
            await asyncio.wait([starting])
            error = starting.exception()
            if error is not None:
                raise BrokenExecutor(f"worker processes cannot be started: {error}") from error
            return starting.result()
        assert self._crew is not None
        return self._crew

    def _crew_started(self, starting: asyncio.Task[Crew]) -> None:
        self._starting = None
        if not starting.cancelled() and starting.exception() is None:
            self._crew = starting.result()

    def _retire(self, crew: Crew) -> None:
        # All questions of a broken crew come back; the first one retires it.
        if self._crew is crew:
            self._crew, self._broken = None, crew

    async def _wait_for_stop(self, crew: Crew, answered: asyncio.Future[bytes | None]) -> None:
        done, _ = await asyncio.wait([answered], timeout=self._patience)
        if not done:
            self._retire(crew)
            await crew.stop()


async def _write(path: str, question: bytes) -> None:
    try:
        await in_thread(parcel.write, path, question)
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror}") from error


async def _next_crew(broken: Crew | None, workers: int, warm_up: Callable[[], object]) -> Crew:
    if broken is not None:
        await broken.stop()
    return await Crew.start(workers, warm_up)


def _retrieve(answered: asyncio.Future[bytes | None]) -> None:
    # The error of an answer that nobody waits for any more.
    if not answered.cancelled():
        answered.exception()
