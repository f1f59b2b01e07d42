"""The scenarios of whole syncs, each kind once with a handful of files, so that the harness itself
is tested; `run.py` measures.
"""

from pathlib import Path

import pytest

from bench.syncs.compare import compare
from bench.syncs.contenders import contenders
from bench.syncs.scenario import SCENARIOS
from bench.syncs.table import as_text

FEW = 16


@pytest.mark.parametrize("name", ["first_small", "resync_1pct", "concurrent_16", "deb_1pct"])
def bench_scenario_with_few_files(name: str, tmp_path: Path) -> None:
    scenario = SCENARIOS[name]
    share = FEW / len(scenario.sizes(1.0))

    taking_part = contenders(scenario, [0])
    rows = compare(scenario, taking_part, tmp_path, rounds=1, share=share)

    assert rows[0].name.startswith("flowsync")
    assert all(row.seconds > 0 and row.cpu > 0 and row.peak > 1 for row in rows)
    assert rows[0].units == pytest.approx(FEW / rows[0].seconds)
    assert as_text(name, rows).count("\n") == len(rows) + 2
