import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowsync import MetadataError
from flowsync.packages.deb_versions import version_key
from flowsync.sources.deb.cut.closure import Place
from flowsync.sources.deb.cut.filters import Facts, Filters, Selection, Verdict, facts_of
from flowsync.sources.deb.options import DebOptions

ONE = Place("one", "amd64")


def options(**given: object) -> DebOptions:
    return DebOptions(suites=("one",), verify=False, **given)  # type: ignore[arg-type]


def kept(selection: Selection, *some: Facts, place: Place = ONE) -> list[str]:
    """See all of it, then judge all of it: names and versions of what is kept."""
    if selection.needs_survey:
        for facts in some:
            selection.see(place, facts)
    return [
        f"{facts.package} {facts.version}".strip()
        for facts in some
        if selection.judge(place, facts).kept
    ]


def test_a_paragraph_tells_what_the_rules_ask() -> None:
    paragraph = (
        b"Package: nginx\nVERSION:1.22.1-9\narchitecture: amd64\nSection: httpd \n"
        b"Priority: Optional\nDescription: a web server\n Section: none\n"
        b"Pre-Depends: init-system-helpers\nDepends: libc6 (>= 2.34),\n\tadduser\nProvides: httpd"
    )

    assert facts_of(1, paragraph) == Facts(
        package="nginx",
        version="1.22.1-9",
        architecture="amd64",
        section="httpd",
        priority="optional",
        needs="init-system-helpers, libc6 (>= 2.34),\n\tadduser",
        provides="httpd",
    )


def test_a_paragraph_without_a_name_is_refused_with_its_number() -> None:
    with pytest.raises(MetadataError, match="paragraph 812: it has no Package"):
        facts_of(812, b"Version: 1")


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_facts_or_refused(paragraph: bytes) -> None:
    try:
        facts = facts_of(1, paragraph)
    except MetadataError:
        return
    Selection.of(options(include=("a*",), latest=1, with_dependencies=True)).see(ONE, facts)


@pytest.mark.parametrize(
    ("given", "facts", "rule"),
    [
        ({}, Facts("a"), None),
        ({"include": ("nginx*",)}, Facts("nginx-core"), None),
        ({"include": ("nginx*",)}, Facts("libnginx-mod"), "include"),
        ({"include": ("a", "b")}, Facts("b"), None),
        ({"include": ("lib[a-f]?",)}, Facts("libc6"), None),
        ({"include": ("A",)}, Facts("a"), "include"),
        ({"exclude": ("*-dbg", "*-dbgsym")}, Facts("nginx-dbg"), "exclude"),
        ({"include": ("nginx*",), "exclude": ("*-dbg",)}, Facts("nginx-dbg"), "exclude"),
        ({"sections": ("net",)}, Facts("a", section="net"), None),
        ({"sections": ("net",)}, Facts("a", section="contrib/net"), None),
        ({"sections": ("net",)}, Facts("a", section="network"), "sections"),
        ({"sections": ("net",)}, Facts("a"), "sections"),
        ({"sections": ("non-free/net",)}, Facts("a", section="net"), "sections"),
        ({"sections": ("non-free/*",)}, Facts("a", section="non-free/net"), None),
        ({"exclude_sections": ("debug",)}, Facts("a", section="main/debug"), "exclude_sections"),
        ({"exclude_sections": ("debug",)}, Facts("a"), None),
        ({"priorities": ("Required",)}, Facts("a", priority="required"), None),
        ({"priorities": ("required",)}, Facts("a", priority="optional"), "priorities"),
    ],
)
def test_a_rule_leaves_a_paragraph_out(
    given: dict[str, tuple[str, ...]], facts: Facts, rule: str | None
) -> None:
    assert Filters(**given).left_out_by(facts) == rule
    assert Selection.of(options(**given)).judge(ONE, facts) == Verdict(rule is None, rule or "")


def test_the_verdict_names_its_rule() -> None:
    assert str(Verdict(False, "sections")) == "left out by `sections`"
    assert str(Verdict(True, "with_dependencies")) == "kept by `with_dependencies`"
    assert str(Verdict(True)) == "kept"


def test_rules_that_judge_a_paragraph_by_itself_need_no_survey() -> None:
    assert not Selection.of(options(include=("a",), priorities=("required",))).needs_survey
    assert Selection.of(options(latest=1)).needs_survey
    assert Selection.of(options(with_dependencies=True)).needs_survey
    assert not Selection.of(options(with_dependencies=True), binary=False).needs_survey


def test_the_latest_versions_are_kept_in_the_order_of_the_index() -> None:
    some = [
        Facts("a", version, "amd64")
        for version in ("1.10", "1:0.1", "1.9", "2.0~rc1", "1.10", "2.0", "0:2.0-0")
    ]

    assert kept(Selection.of(options(latest=1)), *some) == ["a 1:0.1"]
    assert kept(Selection.of(options(latest=2)), *some) == ["a 1:0.1", "a 2.0", "a 0:2.0-0"]
    assert kept(Selection.of(options(latest=3)), *some) == [
        "a 1:0.1",
        "a 2.0~rc1",
        "a 2.0",
        "a 0:2.0-0",
    ]


def test_the_latest_version_is_that_of_a_name_and_an_architecture_in_a_suite() -> None:
    selection = Selection.of(options(latest=1))
    places = [Place("one", "amd64"), Place("one", "arm64"), Place("two", "amd64")]
    some = [
        (places[0], Facts("a", "1", "amd64")),
        (places[0], Facts("a", "2", "all")),
        (places[0], Facts("b", "2", "all")),
        (places[1], Facts("a", "1", "all")),
        (places[2], Facts("a", "0", "amd64")),
    ]
    for place, facts in some:
        selection.see(place, facts)

    assert [selection.judge(place, facts).kept for place, facts in some] == [True] * 5


def test_the_latest_version_is_one_of_those_that_the_other_rules_keep() -> None:
    selection = Selection.of(options(latest=1, sections=("net",)))
    some = [Facts("a", "1", section="net"), Facts("a", "2", section="web")]

    assert kept(selection, *some) == ["a 1"]
    assert selection.judge(ONE, some[1]).rule == "sections"


def test_the_latest_version_of_a_source_is_one_for_all_architectures() -> None:
    some = [Facts("a", "1", "any"), Facts("a", "2", "any all"), Facts("b", "1", "all")]

    selection = Selection.of(options(latest=1), binary=False)

    assert kept(selection, *some, place=Place("one", "")) == ["a 2", "b 1"]


def test_an_index_of_several_architectures_has_the_latest_of_each() -> None:
    some = [Facts("a", "1", "amd64"), Facts("a", "2", "arm64"), Facts("a", "3", "arm64")]

    assert kept(Selection.of(options(latest=1)), *some, place=Place("./", "")) == ["a 1", "a 3"]


@settings(deadline=None)
@given(
    versions=st.lists(st.text(alphabet="01~.-", min_size=1, max_size=5), max_size=12),
    count=st.integers(1, 3),
)
def test_as_many_versions_are_kept_as_asked_for(versions: list[str], count: int) -> None:
    some = [Facts("a", version) for version in versions]

    found = kept(Selection.of(options(latest=count)), *some)

    newest = sorted({version_key(version) for version in versions}, reverse=True)[:count]
    assert found == [f"a {each}" for each in versions if version_key(each) in newest]


def test_dependencies_bring_back_what_other_rules_leave_out() -> None:
    some = [
        Facts("app", "1", needs="lib, tool (= 1)", section="net"),
        Facts("lib", "1", section="libs"),
        Facts("other", "1", section="libs"),
        Facts("tool", "2", section="net"),
        Facts("tool", "1", section="net"),
    ]
    selection = Selection.of(options(sections=("net",), latest=1, with_dependencies=True))

    assert kept(selection, *some) == ["app 1", "lib 1", "tool 2", "tool 1"]
    assert selection.judge(ONE, some[1]) == Verdict(True, "with_dependencies")
    assert selection.judge(ONE, some[2]) == Verdict(False, "sections")
    assert selection.judge(ONE, some[4]) == Verdict(True, "with_dependencies")


def test_dependencies_do_not_bring_back_what_is_excluded() -> None:
    some = [
        Facts("app", "1", needs="lib | other, tool"),
        Facts("lib", "1"),
        Facts("other", "1"),
        Facts("tool", "1", section="debug"),
    ]
    selection = Selection.of(
        options(
            include=("app",), exclude=("lib",), exclude_sections=("debug",), with_dependencies=True
        )
    )

    assert kept(selection, *some) == ["app 1", "other 1"]
    assert selection.unmet == ["app 1 in one needs tool"]
