from bench.gate.verdict import MORE, SLOWER, Turn, as_text, judge, judge_turns


def names(changes) -> list[str]:
    return [change.name for change in changes]


def test_a_minimum_more_than_a_quarter_larger_is_a_regression() -> None:
    verdict = judge({"a": 100.0, "b": 100.0}, {"a": 125.0, "b": 125.1}, SLOWER)

    assert names(verdict.regressions) == ["b"]


def test_a_count_more_than_two_in_a_hundred_larger_is_a_regression() -> None:
    verdict = judge({"a": 100, "b": 100}, {"a": 102, "b": 103}, MORE)

    assert names(verdict.regressions) == ["b"]


def test_a_smaller_figure_is_no_regression() -> None:
    assert judge({"a": 100}, {"a": 1}, MORE).regressions == ()


def test_a_count_that_was_nothing_may_not_become_something() -> None:
    verdict = judge({"a": 0, "b": 0}, {"a": 1, "b": 0}, MORE)

    assert names(verdict.regressions) == ["a"]


def test_what_one_side_lacks_is_listed_and_not_compared() -> None:
    verdict = judge({"both": 1, "gone": 1}, {"both": 1, "new": 9}, MORE)

    assert names(verdict.compared) == ["both"]
    assert (verdict.only_base, verdict.only_head) == (("gone",), ("new",))
    assert "  only in base, not compared: gone" in as_text("counts", verdict).splitlines()
    assert "  only in this tree, not compared: new" in as_text("counts", verdict).splitlines()


def test_the_worst_comes_first_and_is_marked() -> None:
    verdict = judge({"a": 1.0, "b": 1.0, "c": 1.0}, {"a": 1.0, "b": 1.5, "c": 3.0}, SLOWER)

    title, *lines = as_text("seconds", verdict).splitlines()

    assert title == "seconds: 3 compared, 2 worse"
    assert [line.split()[-2:] for line in lines] == [["c", "WORSE"], ["b", "WORSE"]]


def turns(*seconds: tuple[float, float]) -> list[Turn]:
    return [Turn({"a": base}, {"a": head}) for base, head in seconds]


def test_minima_over_all_turns_are_compared() -> None:
    (change,) = judge_turns(turns((3.0, 1.5), (2.0, 4.0)), SLOWER).compared

    assert (change.base, change.head) == (2.0, 1.5)


def test_a_bench_that_is_slower_in_its_minimum_and_in_most_turns_is_a_regression() -> None:
    verdict = judge_turns(turns((1.0, 1.3), (1.3, 1.3), (1.0, 1.4)), SLOWER)

    assert names(verdict.regressions) == ["a"]


def test_one_lucky_turn_of_the_base_makes_no_regression() -> None:
    verdict = judge_turns(turns((0.5, 1.0), (1.0, 1.0), (1.0, 1.1)), SLOWER)

    assert verdict.compared[0].ratio == 2.0
    assert verdict.regressions == ()


def test_a_slow_turn_makes_no_regression_of_a_minimum_that_is_as_before() -> None:
    assert judge_turns(turns((1.0, 3.0), (1.0, 3.0), (1.0, 1.0)), SLOWER).regressions == ()
