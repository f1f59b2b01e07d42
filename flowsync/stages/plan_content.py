"""Takes down what a stream of declared content would change, instead of changing it."""

from typing import TYPE_CHECKING

from flowsync.catalog.planning import PlannedDownload, PlannedUnit
from flowsync.declare import DeclarativeContent
from flowsync.model.content import repo_key_id
from flowsync.stages.context import BoundStage
from flowsync.stages.single_flight import key

if TYPE_CHECKING:
    from flowsync.catalog.planning import Planning


class PlanContent(BoundStage):
    """Gives each unit, and each artifact that would be downloaded, to `planning`, and resolves the item. The end of a plan's pipeline.

    Expects declared content whose stored artifacts were looked up. One catalog call a batch. Nothing is downloaded: a first stage that reads the
    bytes of content that it has put finds only those that are stored, and otherwise fails with the `DeclarationError` of an artifact without bytes.
    """

    hands_on = True

    def __init__(self, planning: "Planning") -> None:
        self.planning = planning

    async def run(self) -> None:
        """Take down each batch."""
        with self.meter("planning.content", "Planning Content") as meter:
            async for batch in self.batches():
                units = [_unit(item) for item in batch]
                await self.planning.collect(units, self._downloads(batch))
                meter.advance(len(batch))
                for item in batch:
                    item.resolve()
                await self.put_all(batch)

    def _downloads(self, batch: list[DeclarativeContent]) -> list[PlannedDownload]:
        allowed = self.context.digest_policy.allowed
        wanted = [
            declared.artifact
            for item in batch
            for declared in item.d_artifacts
            if declared.wants_download
        ]
        keys = [key(artifact, allowed) for artifact in wanted]
        return [
            PlannedDownload(digest=None if name is None else "-".join(name), size=artifact.size)
            for artifact, name in zip(wanted, keys, strict=True)
        ]


def _unit(item: DeclarativeContent) -> PlannedUnit:
    return PlannedUnit(
        content_id=item.content_id,
        repo_key=repo_key_id(item.content),
        size=sum(declared.artifact.size or 0 for declared in item.d_artifacts),
    )
