"""Draws what earlier runs of the benches left in `.benchmarks/`, as PNG files: `python -m
bench.plots`, which `make bench-plot` calls.

Needs matplotlib, of the dependency group `plot`. A picture shows what was measured when; figures of
different machines or days do not compare.
"""

import re
import sys
from pathlib import Path
from typing import Final

from matplotlib.figure import Figure

from bench.plots.curves import Chart, charts_of_floors, charts_of_syncs

RESULTS: Final = Path(__file__).parents[2] / ".benchmarks"


def main() -> int:
    """Draw all charts and print where they are; return 1 when nothing was measured yet."""
    floors, syncs = RESULTS / "floors.json", RESULTS / "syncs.jsonl"
    charts = charts_of_floors(floors.read_bytes()) if floors.exists() else []
    charts += charts_of_syncs(syncs.read_bytes().splitlines()) if syncs.exists() else []
    if not charts:
        print(f"nothing to draw: neither {floors} nor {syncs}", file=sys.stderr)
        return 1
    folder = RESULTS / "plots"
    folder.mkdir(exist_ok=True)
    for chart in charts:
        path = folder / f"{re.sub(r'[^A-Za-z0-9.]+', '-', chart.name)}.png"
        _draw(chart, path)
        print(path)
    return 0


def _draw(chart: Chart, path: Path) -> None:
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for curve in chart.curves:
        axes.plot(*zip(*curve.points, strict=True), marker="o", label=curve.name)
    if chart.labels:
        axes.set_xticks(range(len(chart.labels)), chart.labels, rotation=45, ha="right")
        axes.set_ylim(bottom=0)
    else:
        axes.loglog()
    axes.set(title=chart.name, xlabel=chart.x, ylabel=chart.y)
    axes.grid(visible=True, alpha=0.3)
    if len(chart.curves) > 1:
        axes.legend()
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    sys.exit(main())
