"""The curves in saved figures: of the floors' benches, by their numeric parameters, and of whole
syncs, from run to run. Draws nothing.
"""

from collections.abc import Iterable
from typing import Any, Final

import msgspec

MICROSECONDS: Final = 1e6


class Curve(msgspec.Struct, frozen=True):
    """One line: its name, and its points in order of x."""

    name: str
    points: list[tuple[float, float]]


class Chart(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes one picture. `labels` stand at x = 0, 1, 2 …; without any, both axes are
    logarithmic.
    """

    name: str
    x: str
    y: str
    curves: list[Curve]
    labels: list[str] = []


class _Stats(msgspec.Struct):
    min: float


class _Bench(msgspec.Struct):
    fullname: str
    params: dict[str, Any] | None
    stats: _Stats


class _Saved(msgspec.Struct):
    benchmarks: list[_Bench]


class _SyncRow(msgspec.Struct):
    at: str
    commit: str
    scenario: str
    name: str
    units: float
    share: float = 1.0


def charts_of_floors(saved: bytes) -> list[Chart]:
    """Return a chart for each bench of a saved pytest-benchmark run that has a number among its
    parameters.
    """
    groups: dict[str, list[_Bench]] = {}
    for bench in msgspec.json.decode(saved, type=_Saved).benchmarks:
        groups.setdefault(bench.fullname.partition("[")[0], []).append(bench)
    charts = [_chart_of_floor(name, benches) for name, benches in sorted(groups.items())]
    return [chart for chart in charts if chart is not None]


def charts_of_syncs(lines: Iterable[bytes]) -> list[Chart]:
    """Return a chart for each scenario and share of it in the lines of whole syncs: units a second
    of each contender, run by run.
    """
    decode = msgspec.json.Decoder(_SyncRow).decode
    groups: dict[str, list[_SyncRow]] = {}
    for row in map(decode, lines):
        share = "" if row.share == 1 else f" × {row.share:g}"
        groups.setdefault(f"{row.scenario}{share}", []).append(row)
    return [_chart_of_scenario(name, rows) for name, rows in sorted(groups.items())]


def _chart_of_floor(name: str, benches: list[_Bench]) -> Chart | None:
    params = [bench.params or {} for bench in benches]
    x = next((key for key in params[0] if _is_axis([found.get(key) for found in params])), None)
    if x is None:
        return None
    curves: dict[str, list[tuple[float, float]]] = {}
    for bench, found in zip(benches, params, strict=True):
        series = ", ".join(str(value) for key, value in found.items() if key != x)
        curves.setdefault(series, []).append((found[x], bench.stats.min * MICROSECONDS))
    title = name.rpartition("/")[2].replace(".py::", " ")
    return Chart(name=title, x=x, y="µs, minimum", curves=_sorted(curves))


def _is_axis(values: list[Any]) -> bool:
    """Say whether the values of a parameter can be an axis, which is logarithmic: several numbers
    above zero.
    """
    numbers = {value for value in values if type(value) in {int, float} and value > 0}
    return len(numbers) > 1 and all(value in numbers for value in values)


def _chart_of_scenario(name: str, rows: list[_SyncRow]) -> Chart:
    runs = sorted({(row.at, row.commit) for row in rows})
    place = {run: number for number, run in enumerate(runs)}
    curves: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        curves.setdefault(row.name, []).append((place[row.at, row.commit], row.units))
    labels = [commit for _, commit in runs]
    return Chart(name=name, x="commit", y="units/s", curves=_sorted(curves), labels=labels)


def _sorted(curves: dict[str, list[tuple[float, float]]]) -> list[Curve]:
    return [Curve(name, sorted(points)) for name, points in curves.items()]
