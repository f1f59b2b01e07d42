"""A process that persists random batches until it is killed: `python -m
tests.integration.store.persisting ROOT`.

It prints the names of each batch in one line once they are durable.
"""

import asyncio
import random
import sys
from pathlib import Path

from flowsync.store import LocalBlobStore
from flowsync.testing.bodies import as_file, in_memory

# Two processes meet in these.
SHARED = [bytes([number]) * 100 * number for number in range(40)]


async def main() -> None:
    async with LocalBlobStore(Path(sys.argv[1])) as store, store.staging() as folder:
        while True:
            fresh = [
                random.randbytes(random.randrange(20_000)) for _ in range(random.randrange(20))
            ]
            bodies = [*fresh, *random.sample(SHARED, 10)]
            batch = [
                as_file(folder, body) if random.random() < 0.5 else in_memory(body)
                for body in bodies
            ]
            await store.persist(batch)
            print(*(artifact.blake3 for artifact in batch), flush=True)


asyncio.run(main())
