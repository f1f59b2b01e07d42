"""The gate against regressions: `python -m bench.gate [BASE]`, which `make bench-gate BASE=…`
calls.

Compares this tree, as it is, with a base revision on the same machine in the same hour, each with
its own benches. Fails when the minimum of a bench is larger by more than 25 %, or a deterministic
count (`bench.counts`) by more than 2 %.

1. Both sides take turns, and who begins alternates, so that a noisy neighbour meets both. Minima
   are compared: noise only adds.
2. A suspect is measured again, in so many turns more at most, before it is called a regression. It
   is one when its minimum stays larger, and was larger in two of three turns: a single lucky turn
   of the base is no measure.
3. What only one side has is listed and not compared. A bench that changed together with the code is
   compared all the same: it says so by its ratio.

Left out unless asked for by name: `serving`, and what starts whole syncs (`syncs`). Files lie in
memory, so no figure hangs on the disk (`surroundings.py`).
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bench.gate.checkout import checked_out, top_of
from bench.gate.side import Side
from bench.gate.surroundings import surroundings
from bench.gate.verdict import MORE, SLOWER, Turn, Verdict, as_text, judge, judge_turns

FILES: Final = (
    "bench/pipeline/bench_batch.py",
    "bench/pipeline/bench_hops.py",
    "bench/stages/bench_crossing.py",
    "bench/store/bench_persist.py::bench_persist",
    "bench/download/bench_http.py",
    "bench/catalog/bench_rows.py",
    "bench/catalog/bench_versions.py",
)


def main() -> int:
    """Compare, print what was found, and return 1 when something became worse."""
    options = _parser().parse_args()
    repository = top_of(Path.cwd())
    with checked_out(repository, options.base) as tree, surroundings() as environment:
        base = Side(f"base {options.base}", tree, environment)
        head = Side("this tree", repository, environment)
        counted = judge(base.counts(), head.counts(), MORE) if options.counts else None
        timed = Race(base, head, options.share).run(
            options.files or FILES, options.rounds, options.again
        )
    if counted is not None:
        print(as_text("counts", counted))
    print(as_text("seconds", timed))
    worse = [*timed.regressions, *(counted.regressions if counted else ())]
    return 1 if worse else 0


class Race:
    """Measures two sides in turns."""

    def __init__(self, base: Side, head: Side, share: float) -> None:
        self._base = base
        self._head = head
        self._share = share if base.knows_share() and head.knows_share() else 1.0
        self._turns: list[Turn] = []

    def run(self, wanted: Sequence[str], rounds: int, again: int) -> Verdict:
        """Measure all that is wanted, then the suspects again, and return what was found."""
        for number in range(rounds):
            self._measure(wanted)
            self._say(f"round {number + 1} of {rounds}")
        for number in range(again):
            suspects = self._suspects()
            if not suspects:
                break
            self._measure(suspects)
            self._say(f"{len(suspects)} suspects, again {number + 1} of {again}")
        return judge_turns(self._turns, SLOWER)

    def _suspects(self) -> list[str]:
        return [change.name for change in judge_turns(self._turns, SLOWER).regressions]

    def _measure(self, wanted: Sequence[str]) -> None:
        if len(self._turns) % 2:
            head, base = self._minima(self._head, wanted), self._minima(self._base, wanted)
        else:
            base, head = self._minima(self._base, wanted), self._minima(self._head, wanted)
        self._turns.append(Turn(base, head))

    def _minima(self, side: Side, wanted: Sequence[str]) -> dict[str, float]:
        there = [name for name in wanted if side.has(name)]
        return side.minima(there, self._share) if there else {}

    def _say(self, done: str) -> None:
        print(f"{done}: {len(self._suspects())} slower so far", file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Compare this tree with a base revision.")
    parser.add_argument("base", nargs="?", default="HEAD~1", help="a git revision; HEAD~1")
    parser.add_argument("--rounds", type=int, default=3, help="turns of both sides; 3")
    parser.add_argument(
        "--again", type=int, default=6, help="further turns for a suspect, at most; 6"
    )
    parser.add_argument(
        "--share", type=float, default=0.1, help="size of the benches that can be smaller; 0.1"
    )
    parser.add_argument(
        "--files", nargs="+", help="bench files, or FILE::BENCH, instead of the usual ones"
    )
    parser.add_argument(
        "--no-counts", dest="counts", action="store_false", help="compare no counts"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
