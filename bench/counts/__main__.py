"""Counts what does not hang on the machine: `python -m bench.counts`. Prints the counts and keeps
them in `.benchmarks/counts.json`.

The PostgreSQL is that of the tests: `FLOWSYNC_TEST_DATABASE_URL`, or else an embedded one that is
thrown away.
"""

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import msgspec

from bench.counts.everything import count_everything
from flowsync.embedded_postgres.server import EmbeddedPostgres
from tests.postgres import RECKLESS

RESULT: Final = Path(__file__).parents[2] / ".benchmarks" / "counts.json"


def main() -> int:
    """Count, print and save."""
    parser = argparse.ArgumentParser(description="Count what does not hang on the machine.")
    parser.add_argument("--output", type=Path, default=RESULT, help="a JSON file")
    options = parser.parse_args()
    with TemporaryDirectory() as scratch, _postgres(Path(scratch, "postgres")) as postgres:
        counts = count_everything(postgres, Path(scratch, "syncs"))
    for name, count in counts.items():
        print(f"{count:>12.10g}  {name}")
    options.output.parent.mkdir(exist_ok=True)
    options.output.write_bytes(msgspec.json.format(msgspec.json.encode(counts)) + b"\n")
    return 0


@contextmanager
def _postgres(folder: Path) -> Iterator[str]:
    given = os.environ.get("FLOWSYNC_TEST_DATABASE_URL")
    if given:
        yield given
        return
    server = EmbeddedPostgres(folder, settings=RECKLESS)
    server.start()
    try:
        yield server.conninfo()
    finally:
        server.stop()


if __name__ == "__main__":
    sys.exit(main())
