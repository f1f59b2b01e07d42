"""Bench of the fan-out: renaming 2000 files into a store, by the number of its folders (200 where
it is run once as a test of itself).

Scenarios: a new store, whose folders are made on the way; and a store that holds 200 000 blobs
already. Left out: durability, reading, and what cold caches cost.

The blobs in place are hard links to empty files, which makes them quick to plant; the folders are
as large as with real ones.
"""

import os
import secrets
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

BATCH = 2000
BATCH_ONCE = 200
IN_PLACE = 200_000
LINKS = 60_000

PathOf = Callable[[str, str], str]

FAN_OUTS: dict[str, PathOf] = {
    "256": lambda root, name: f"{root}/{name[:2]}/{name}",
    "4096": lambda root, name: f"{root}/{name[:3]}/{name}",
    "256x256": lambda root, name: f"{root}/{name[:2]}/{name[2:4]}/{name}",
}


def place(source: str, target: str) -> None:
    try:
        os.rename(source, target)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.rename(source, target)


def plant(root: str, path_of: PathOf, count: int) -> None:
    source = ""
    for number in range(count):
        if number % LINKS == 0:
            source = f"{root}/source-{number}"
            open(source, "xb").close()
        target = path_of(root, secrets.token_hex(32))
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.link(source, target)


@pytest.mark.parametrize("in_place", [0, IN_PLACE])
@pytest.mark.parametrize("fan_out", FAN_OUTS)
@pytest.mark.timeout(300)
def bench_place(benchmark: BenchmarkFixture, tmp_path: Path, fan_out: str, in_place: int) -> None:
    path_of = FAN_OUTS[fan_out]
    filled = str(tmp_path)
    plant(filled, path_of, min(in_place, BATCH_ONCE) if benchmark.disabled else in_place)

    def stage() -> tuple[tuple[list[tuple[str, str]]], dict[str, object]]:
        root = filled if in_place else tempfile.mkdtemp(dir=tmp_path)
        moves = []
        for _ in range(BATCH_ONCE if benchmark.disabled else BATCH):
            name = secrets.token_hex(32)
            open(f"{root}/{name}", "xb").close()
            moves.append((f"{root}/{name}", path_of(root, name)))
        return (moves,), {}

    def move(moves: list[tuple[str, str]]) -> None:
        for source, target in moves:
            place(source, target)

    benchmark.pedantic(move, setup=stage, rounds=5)
