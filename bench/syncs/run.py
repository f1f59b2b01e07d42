"""Whole syncs beside the references: `python -m bench.syncs.run [SCENARIO …]`, which `make bench
SCENARIO=…` calls.

The table is for people; the same figures go as JSON lines to `.benchmarks/syncs.jsonl`, with
machine, commit and versions.

What the figures leave out: network latency, TLS, a cold page cache. Upstream, database and
contenders share the cores. The references verify nothing and record nothing, and but for the copy
they make nothing durable.
"""

import argparse
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from bench.syncs.compare import compare
from bench.syncs.contenders import contenders
from bench.syncs.measured import REPOSITORY
from bench.syncs.scenario import SCENARIOS, Scenario
from bench.syncs.table import Row, as_text
from bench.syncs.web import server_name

RESULTS: Final = REPOSITORY / ".benchmarks"


def main() -> int:
    """Run scenarios and print a table for each."""
    options = _parser().parse_args()
    place = options.folder.absolute()
    for name in options.scenarios or list(SCENARIOS):
        scenario = SCENARIOS[name]
        taking_part = contenders(scenario, options.workers)
        rows = compare(scenario, taking_part, place, rounds=options.rounds, share=options.share)
        print(as_text(f"{scenario.name}: {scenario.says}, {server_name()}", rows), flush=True)
        _record(scenario, rows, options.rounds, options.share)
        if not scenario.stays(options.share):
            shutil.rmtree(place / "runs" / scenario.name, ignore_errors=True)
    shutil.rmtree(place / "runs", ignore_errors=True)
    return 0


def _record(scenario: Scenario, rows: Sequence[Row], rounds: int, share: float) -> None:
    describe = ["git", "-C", str(REPOSITORY), "describe", "--always", "--dirty"]
    commit = subprocess.run(describe, capture_output=True, text=True, check=False)
    facts = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "scenario": scenario.name,
        "share": share,
        "rounds": rounds,
        "server": server_name(),
        "commit": commit.stdout.strip(),
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cores": len(os.sched_getaffinity(0)),
    }
    RESULTS.mkdir(exist_ok=True)
    with open(RESULTS / "syncs.jsonl", "ab") as lines:
        lines.writelines(
            msgspec.json.encode({**facts, **msgspec.to_builtins(row)}) + b"\n" for row in rows
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Measure whole syncs beside the references.")
    parser.add_argument(
        "scenarios",
        nargs="*",
        choices=[*SCENARIOS, []],
        metavar="SCENARIO",
        help=", ".join(SCENARIOS),
    )
    parser.add_argument("--rounds", type=int, default=3, help="runs of each contender; 3")
    parser.add_argument("--share", type=float, default=1.0, help="share of the files; 1")
    parser.add_argument(
        "--workers", type=int, nargs="+", default=[0], help="numbers of download workers to try; 0"
    )
    parser.add_argument(
        "--folder", type=Path, default=RESULTS / "syncs", help="where upstreams and runs live"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
