from bench.gate.verdict import MORE, SLOWER, as_text, judge, merge_minima


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


def test_the_lesser_of_two_rounds_is_kept() -> None:
    known = {"a": 2.0, "b": 2.0}

    merge_minima(known, {"a": 1.0, "b": 3.0, "c": 4.0})

    assert known == {"a": 1.0, "b": 2.0, "c": 4.0}
