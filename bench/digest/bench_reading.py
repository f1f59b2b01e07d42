"""How fast one core digests a file of 256 MiB, sha256 and BLAKE3 in one pass, from the page cache.

Left out: a cold disk, whose speed is its own, and what a worker process costs.
"""

import os
from pathlib import Path
from typing import Any

from flowsync.digest.hashing import digest_file

SMALL, LARGE = 64 * 1024, 256 * 1024 * 1024


def bench_reading(benchmark: Any, tmp_path: Path) -> None:
    path = tmp_path / "file"
    with path.open("wb") as file:
        for _ in range((SMALL if benchmark.disabled else LARGE) // SMALL):
            file.write(os.urandom(SMALL))
    rounds = 1 if benchmark.disabled else 7
    benchmark.pedantic(digest_file, args=(str(path), ()), rounds=rounds)
