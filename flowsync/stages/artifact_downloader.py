"""Downloads the artifacts whose bytes are not here yet."""

from contextlib import suppress

from flowsync.declare import DeclarativeArtifact, DeclarativeContent, Source
from flowsync.errors import (
    AllSourcesFailedError,
    DeclarationError,
    IntegrityError,
    TransferError,
    UnreachableError,
)
from flowsync.model.artifact import Artifact, StagedArtifact
from flowsync.model.remote import FetchRequest, Remote
from flowsync.pipeline.progress import Meter
from flowsync.runtime.task_groups import task_group
from flowsync.stages.admission import check_declared
from flowsync.stages.arrival import Arrival
from flowsync.stages.claiming import claim, partial_name
from flowsync.stages.generic_downloader import GenericDownloader
from flowsync.stages.single_flight import key
from flowsync.store.partials import Partial


class ArtifactDownloader(GenericDownloader):
    """Fetches every artifact that is neither stored, nor at hand, nor deferred, and replaces it by
    a verified `StagedArtifact`.

    The artifacts of one content are fetched in parallel. The sources of an artifact are tried in
    turn: alternates first, then its own URLs, each with its own remote. An alternate that could not
    be reached is for the rest of the run the last resort, instead of a wait before every file.
    Bytes that another content, of this run or of another one of the engine, is fetching at the same
    time are not fetched again but shared (`single_flight`). While its bytes are in flight a content
    holds a lease of the budget, its own or one it came with; the saver gives it back.

    Raises `TransferError` or `IntegrityError` when a single source failed, `AllSourcesFailedError`
    when several did. Nothing of the body is kept then, unless it is large: the next download of the
    same artifact goes on from the bytes that came (`claiming`). Where the sync may go on without
    the content, the failure stays with the item instead, and `LeaveOut` behind this stage decides.
    """

    accepts = staticmethod(check_declared)
    hands_on = True

    progress_code = "sync.downloading.artifacts"
    progress_message = "Downloading Artifacts"

    def __init__(self, max_concurrent_content: int = 200) -> None:
        super().__init__(max_concurrent_content)
        self._unreachable: set[str] = set()

    async def run(self) -> None:
        """Handle all items."""
        self._unreachable.clear()
        await super().run()

    def has_work(self, item: DeclarativeContent) -> bool:
        """Say whether any artifact of the content has to be downloaded, and was not tried
        already.
        """
        return item.failure is None and any(
            declared.wants_download for declared in item.d_artifacts
        )

    def pass_by(self, item: DeclarativeContent, meter: Meter) -> None:
        """Take the content's artifacts off the announced total, except those that workers
        downloaded, or tried to.
        """
        self._take_off(item, meter)

    def last_taken(self) -> None:
        """Let the next sync fetch."""
        self.context.nearly_fetched()

    async def handle_content(self, item: DeclarativeContent, meter: Meter) -> None:
        """Download what the content lacks, all at once."""
        wanted = [declared for declared in item.d_artifacts if declared.wants_download]
        self._take_off(item, meter)
        if item.lease is None:
            # One for all of them: contents that each held some and waited for more would wait for
            # each other.
            size = sum(declared.artifact.size or 0 for declared in wanted)
            item.lease = await self.context.budget.acquire(size, len(wanted))
        try:
            await self._download_all(wanted, meter)
        except (TransferError, IntegrityError) as failure:
            if self.context.on_error == "fail":
                raise
            item.failure = failure

    def _take_off(self, item: DeclarativeContent, meter: Meter) -> None:
        if meter.total is not None:
            meter.total -= sum(
                not (declared.wants_download or isinstance(declared.artifact, StagedArtifact))
                for declared in item.d_artifacts
            )

    async def _download_all(self, wanted: list[DeclarativeArtifact], meter: Meter) -> None:
        if len(wanted) == 1:
            await self._download(wanted[0], meter)
            return
        async with task_group() as group:
            for declared in wanted:
                group.create_task(self._download(declared, meter))

    async def _download(self, declared: DeclarativeArtifact, meter: Meter) -> None:
        async def fetch() -> StagedArtifact:
            staged = await self._fetch_from_any(declared)
            meter.advance(0, staged.size or 0)
            return staged

        context = self.context
        wanted = key(declared.artifact, context.digest_policy.allowed)
        if wanted is None:
            declared.artifact = await fetch()
        else:
            artifact, folder = declared.artifact, context.staging
            declared.artifact = await context.single_flight.bring(wanted, artifact, folder, fetch)
        meter.advance(1)

    async def _fetch_from_any(self, declared: DeclarativeArtifact) -> StagedArtifact:
        wanted = declared.artifact
        name = partial_name(wanted, self.context.digest_policy.allowed)
        if name is None or wanted.size is None:
            return await self._try_sources(declared, None)
        async with claim(self.context.staging, name, wanted.size) as partial:
            if partial is not None and partial.is_whole:
                arrival = Arrival(partial.path, wanted, self.context, partial)
                # What is wrong with it is nobody's fault any more: it is thrown away, and the body
                # fetched.
                with suppress(IntegrityError):
                    await arrival.finish_whole()
                    return arrival.staged
            return await self._try_sources(declared, partial)

    async def _try_sources(
        self, declared: DeclarativeArtifact, partial: Partial | None
    ) -> StagedArtifact:
        failures: list[Exception] = []
        for source in self._in_order(declared):
            for url in source.urls:
                try:
                    return await self._fetch(url, source.remote, declared, partial)
                except (TransferError, IntegrityError) as error:
                    failures.append(error)
                    if isinstance(error, UnreachableError) and source.remote is not None:
                        self._unreachable.add(source.remote.name)
        if len(failures) == 1:
            raise failures[0]
        raise AllSourcesFailedError(declared.relative_path, failures)

    def _in_order(self, declared: DeclarativeArtifact) -> list[Source]:
        """Return the sources of an artifact in the order in which to try them."""
        own = Source(declared.remote, declared.urls)
        if not declared.alternates:
            return [own]
        return sorted(
            [*declared.alternates, own],
            key=lambda source: (
                source.remote is not None
                and source.remote is not declared.remote
                and source.remote.name in self._unreachable
            ),
        )

    async def _fetch(
        self,
        url: str,
        remote: Remote | None,
        declared: DeclarativeArtifact,
        partial: Partial | None,
    ) -> StagedArtifact:
        if remote is None:
            raise DeclarationError(f"{declared.relative_path}: no remote to fetch it with")
        wanted: Artifact = declared.artifact
        arrival = Arrival(url, wanted, self.context, partial)
        request = FetchRequest(
            url=url,
            remote=remote,
            size=wanted.size,
            headers=declared.extra_data.get("headers", {}),
        )
        try:
            await self.context.fetcher.stream(request, arrival)
            return arrival.staged
        except BaseException:
            await arrival.leave()
            raise
