"""What the calls of the catalog say to the database for a batch of 500 rows, whatever the tables
hold.
"""

from collections.abc import Awaitable, Callable
from typing import Final

from bench.catalog.rows import (
    ALLOWED,
    BATCH,
    World,
    declared,
    described,
    save,
    source,
    staged,
    unit,
    units,
)
from bench.counts.wire import Wire
from flowsync.catalog.records.contents import Link
from flowsync.model.content import key_id
from flowsync.model.remote import Remote

Call = Callable[[World], Awaitable[object]]


async def _save_contents(world: World) -> None:
    numbers = world.new()
    await save(world, [unit(number) for number in numbers], numbers)


async def _fill_links(world: World) -> None:
    # The artifact need not be the right one to cost what it costs.
    (artifact, *_) = await world.artifacts.find(declared(world.old()), ALLOWED)
    assert artifact is not None
    links = [
        Link(
            content_id=key_id(unit(number)),
            relative_path=unit(number).relative_path,
            artifact_id=artifact.id,
        )
        for number in world.old()
    ]
    async with world.contents.transaction() as transaction:
        await transaction.fill(links)


CALLS: Final[dict[str, Call]] = {
    "find artifacts": lambda world: world.artifacts.find(declared(world.old()), ALLOWED),
    "find unknown artifacts": lambda world: world.artifacts.find(declared(world.new()), ALLOWED),
    "save artifacts": lambda world: world.artifacts.save([staged(n) for n in world.new()]),
    "save known artifacts": lambda world: world.artifacts.save([staged(n) for n in world.old()]),
    "find contents": lambda world: world.contents.find(units(world.old())),
    "find described contents": lambda world: world.contents.find(
        {key_id(content): content for content in map(described, world.old())}
    ),
    "find unknown contents": lambda world: world.contents.find(units(world.new())),
    "save contents": _save_contents,
    "find artifacts, fill links": _fill_links,
    "save known sources": lambda world: world.remotes.save_sources(
        [source(world, number) for number in world.old()]
    ),
    "save changed sources": lambda world: world.remotes.save_sources(
        [source(world, number, "b") for number in world.old()]
    ),
    "find alternates": lambda world: world.remotes.alternates(declared(world.old()), ALLOWED),
    "find remotes": lambda world: world.remotes.ids([Remote(name="r", url="http://localhost/")]),
}


def count_calls(wire: Wire) -> dict[str, int]:
    """Return the round trips of each call, on a new database behind the wire."""
    world = World(wire.conninfo, 2 * BATCH)

    async def count(call: Call) -> int:
        before = wire.tally.copy()
        await call(world)
        return wire.tally.since(before).round_trips

    with world.runner:
        world.runner.run(world.grow())
        found = {name: world.runner.run(count(call)) for name, call in CALLS.items()}
        world.runner.run(world.database.close())
    return found
