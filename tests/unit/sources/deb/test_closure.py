import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowsync.sources.deb.cut.closure import Candidate, Closure, Need, Place, needs_of

ROOT = "root"


def package(
    name: str,
    version: str = "1",
    needs: str = "",
    *,
    provides: str = "",
    suite: str = "one",
    index: str = "amd64",
    architecture: str = "amd64",
    priority: str = "optional",
) -> Candidate:
    return Candidate(
        place=Place(suite, index),
        package=name,
        version=version,
        architecture=architecture,
        priority=priority,
        needs=needs,
        provides=provides,
        wanted=name == ROOT,
    )


def closed(*some: Candidate) -> Closure:
    closure = Closure()
    for candidate in some:
        closure.add(candidate)
    closure.close(lambda _: True)
    return closure


def kept(*some: Candidate) -> list[str]:
    """Names and versions of what is kept, without the root."""
    closure = closed(*some)
    return [
        f"{each.package} {each.version}"
        for each in some
        if closure.has(*each.identity) and each.package != ROOT
    ]


@pytest.mark.parametrize(
    ("field", "needs"),
    [
        ("", []),
        ("a", [(Need("a"),)]),
        ("a, b", [(Need("a"),), (Need("b"),)]),
        ("a|b  |  c", [(Need("a"), Need("b"), Need("c"))]),
        ("a (>= 1:2.0~rc1-1)", [(Need("a", "", ">=", "1:2.0~rc1-1"),)]),
        ("a(<<2)", [(Need("a", "", "<<", "2"),)]),
        ("python3:any (>= 3.9~)", [(Need("python3", "any", ">=", "3.9~"),)]),
        ("libstdc++6,\n lib.a+b-c", [(Need("libstdc++6"),), (Need("lib.a+b-c"),)]),
        ("a [amd64] <!nocheck>", [(Need("a"),)]),
        (", ,a,", [(Need("a"),)]),
        ("${misc:Depends} | b", [(Need("b"),)]),
    ],
)
def test_a_field_of_needs_is_read(field: str, needs: list[tuple[Need, ...]]) -> None:
    assert list(needs_of(field)) == needs


def test_what_is_needed_is_kept_however_far_away() -> None:
    some = [package(ROOT, needs="a"), package("a", needs="b"), package("b", needs="c, a")]

    assert kept(*some, package("c"), package("d", needs="a")) == ["a 1", "b 1", "c 1"]


def test_of_alternatives_the_first_that_there_is_is_kept() -> None:
    assert kept(package(ROOT, needs="x | b | a"), package("a"), package("b")) == ["b 1"]


def test_a_package_that_lacks_something_counts_only_where_nothing_else_does() -> None:
    some = [
        package("a", needs="b"),
        package("b", needs="gone"),
        package("c", provides="v"),
        package("d", "2", needs="gone"),
        package("d", "1"),
    ]

    assert kept(package(ROOT, needs="a | c"), *some) == ["c 1"]
    assert kept(package(ROOT, needs="a"), *some) == ["a 1", "b 1"]
    assert kept(package(ROOT, needs="d"), *some) == ["d 1"]
    assert kept(package(ROOT, needs="d (>= 2)"), *some) == ["d 2"]
    assert kept(package(ROOT, needs="v"), package("x", provides="v", needs="gone"), *some) == [
        "c 1"
    ]


def test_what_is_needed_by_a_package_that_is_passed_by_is_not_kept() -> None:
    some = [package("a", needs="b, gone"), package("b"), package("c")]
    closure = closed(package(ROOT, needs="a | c"), *some)

    assert not closure.has(*some[1].identity)
    assert closure.unmet == []


def test_a_version_that_is_asked_for_must_hold() -> None:
    some = [package("a", "1"), package("a", "3"), package("a", "2"), package("b")]

    assert kept(package(ROOT, needs="a"), *some) == ["a 3"]
    assert kept(package(ROOT, needs="a (<< 3)"), *some) == ["a 2"]
    assert kept(package(ROOT, needs="a (= 1)"), *some) == ["a 1"]
    assert kept(package(ROOT, needs="a (>> 3) | b"), *some) == ["b 1"]
    assert kept(package(ROOT, needs="a (>= 3~), a (= 1)"), *some) == ["a 1", "a 3"]


def test_a_name_may_be_provided() -> None:
    mail = [
        package("postfix", provides="mta, mail"),
        package("exim", provides="mta", priority="standard"),
    ]

    assert kept(package(ROOT, needs="mta"), *mail) == ["exim 1"]
    assert kept(package(ROOT, needs="mail, mta"), *mail) == ["postfix 1"]


def test_a_package_comes_before_those_that_provide_its_name() -> None:
    assert kept(package(ROOT, needs="a"), package("b", provides="a"), package("a")) == ["a 1"]


def test_a_name_is_provided_in_a_version_or_in_none() -> None:
    some = [
        package("b", provides="a"),
        package("c", provides="a (= 1)"),
        package("d", provides="a (= 2)"),
    ]

    assert kept(package(ROOT, needs="a (>= 2)"), *some) == ["d 1"]
    assert kept(package(ROOT, needs="a (>= 3)"), *some) == []
    assert kept(package(ROOT, needs="a"), *some) == ["b 1"]


def test_of_a_package_that_provides_a_name_the_newest_is_kept() -> None:
    some = [package("b", version, provides="a") for version in ("1", "1.10", "1.9")]

    assert kept(package(ROOT, needs="a"), *some) == ["b 1.10"]


def test_an_older_version_provides_a_name_only_where_nothing_else_does() -> None:
    some = [package("b", "1", provides="a"), package("b", "2"), package("c", provides="a")]

    assert kept(package(ROOT, needs="a"), *some) == ["c 1"]
    assert kept(package(ROOT, needs="a"), *some[:2]) == ["b 1"]


def test_a_need_is_met_in_its_own_suite_first() -> None:
    some = [package("a", "2", suite="two"), package("a", "1"), package("b", suite="two")]

    assert kept(package(ROOT, needs="a, b"), *some) == ["a 1", "b 1"]
    assert kept(package(ROOT, needs="a, b", suite="two"), *some) == ["a 2", "b 1"]


def test_packages_for_all_architectures_are_in_an_index_of_any() -> None:
    some = [
        package(ROOT, needs="a, b"),
        package("a", architecture="all", needs="c"),
        package("b", index="all", architecture="all", needs="c"),
        package("c"),
        package("c", index="arm64", architecture="arm64"),
    ]

    closure = closed(*some)

    assert [closure.has(*each.identity) for each in some] == [True, True, True, True, False]


def test_a_package_for_all_architectures_is_followed_for_each() -> None:
    some = [
        package(ROOT, needs="a", index="all", architecture="all"),
        package("a", "1", needs="b"),
        package("a", "2", index="arm64", architecture="arm64"),
        package("b"),
        package("b", index="arm64", architecture="arm64"),
    ]

    closure = closed(*some)

    assert [closure.has(*each.identity) for each in some] == [True, True, True, True, False]


def test_an_architecture_that_is_asked_for_must_be_that_of_the_package() -> None:
    assert kept(package(ROOT, needs="a:any, b:amd64"), package("a"), package("b")) == ["a 1", "b 1"]
    assert kept(package(ROOT, needs="a:i386"), package("a")) == []


def test_what_nothing_meets_is_told() -> None:
    closure = closed(package(ROOT, needs="a (>= 2) | b:any, c"), package("a"), package("c"))

    assert closure.unmet == ["root 1 in one needs a (>= 2) | b:any"]


def test_of_what_nothing_meets_only_the_first_is_told() -> None:
    many = ", ".join(f"x{number}" for number in range(1000))

    assert len(closed(package(ROOT, needs=many)).unmet) == 20


def test_a_long_chain_is_followed_to_its_end() -> None:
    chain = [package(f"a{number}", needs=f"a{number + 1}") for number in range(5000)]

    assert len(kept(package(ROOT, needs="a0"), *chain)) == 5000


NAMES = st.sampled_from([ROOT, *"abcd"])
NEEDS = st.lists(
    st.lists(NAMES, min_size=1, max_size=2).map(" | ".join), max_size=3
).map(", ".join)  # fmt: skip
PACKAGES = st.builds(
    package, NAMES, st.sampled_from("12"), NEEDS, provides=st.one_of(st.just(""), NAMES)
)


@settings(deadline=None)
@given(st.lists(PACKAGES, max_size=8))
def test_all_that_is_kept_has_what_it_needs_if_there_is_any(some: list[Candidate]) -> None:
    closure = closed(*some)

    def offer(candidates: list[Candidate]) -> set[str]:
        return {each.package for each in candidates} | {
            each.provides for each in candidates if each.provides
        }

    kept = [each for each in some if closure.has(*each.identity)]
    lacking = {
        alternatives
        for each in kept
        for alternatives in needs_of(each.needs)
        if not {need.package for need in alternatives} & offer(kept)
    }
    assert not [
        alternatives
        for alternatives in lacking
        if {need.package for need in alternatives} & offer(some)
    ]
    assert all(closure.has(*each.identity) for each in some if each.wanted)


@settings(deadline=None)
@given(st.lists(PACKAGES, max_size=8))
def test_the_same_packages_keep_the_same(some: list[Candidate]) -> None:
    assert kept(*some) == kept(*some)
