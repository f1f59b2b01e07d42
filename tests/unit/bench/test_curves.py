import json

from bench.plots.curves import Curve, charts_of_floors, charts_of_syncs


def saved(*benches: tuple[str, dict[str, object] | None, float]) -> bytes:
    listed = [
        {"fullname": name, "params": params, "stats": {"min": least}}
        for name, params, least in benches
    ]
    return json.dumps({"benchmarks": listed}).encode()


def test_a_numeric_parameter_is_the_axis_and_the_others_name_the_curves() -> None:
    found = charts_of_floors(
        saved(
            ("bench/f/bench_x.py::bench_a[in-2]", {"way": "in", "size": 2}, 2e-6),
            ("bench/f/bench_x.py::bench_a[in-1]", {"way": "in", "size": 1}, 1e-6),
            ("bench/f/bench_x.py::bench_a[out-1]", {"way": "out", "size": 1}, 5e-6),
        )
    )

    (chart,) = found
    assert (chart.name, chart.x) == ("bench_x bench_a", "size")
    assert chart.curves == [Curve("in", [(1, 1.0), (2, 2.0)]), Curve("out", [(1, 5.0)])]


def test_a_bench_without_several_numbers_above_zero_has_no_chart() -> None:
    found = charts_of_floors(
        saved(
            ("b.py::plain", None, 1.0),
            ("b.py::words[a]", {"way": "a"}, 1.0),
            ("b.py::words[b]", {"way": "b"}, 1.0),
            ("b.py::zero[0]", {"workers": 0}, 1.0),
            ("b.py::zero[1]", {"workers": 1}, 1.0),
            ("b.py::flag[True]", {"whole": True}, 1.0),
            ("b.py::flag[False]", {"whole": False}, 1.0),
        )
    )

    assert found == []


def test_contenders_of_a_scenario_are_curves_over_its_runs_in_order_of_time() -> None:
    rows = [("02", "b", "flowsync", 20.0), ("01", "a", "flowsync", 10.0), ("02", "b", "curl", 5.0)]
    facts = {"scenario": "first_small", "share": 1.0, "server": "nginx"}
    lines = [
        json.dumps({**facts, "at": at, "commit": commit, "name": name, "units": units}).encode()
        for at, commit, name, units in rows
    ]

    (chart,) = charts_of_syncs(lines)

    assert chart.labels == ["a", "b"]
    assert chart.curves == [Curve("flowsync", [(0, 10.0), (1, 20.0)]), Curve("curl", [(1, 5.0)])]


def test_runs_with_a_share_of_the_files_have_a_chart_of_their_own() -> None:
    facts = {"scenario": "s", "at": "1", "commit": "a", "name": "flowsync", "units": 1.0}
    lines = [json.dumps({**facts, "share": share}).encode() for share in (1.0, 0.1)]

    assert [chart.name for chart in charts_of_syncs(lines)] == ["s", "s × 0.1"]
