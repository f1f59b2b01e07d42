import random
import re
import shutil
import subprocess
from functools import cmp_to_key

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowsync.packages.deb_versions import (
    Relation,
    compare_versions,
    satisfies,
    version_key,
)

BATCH = 500

# Print, for each pair of arguments, how dpkg orders them.
BY_PERL = """
while (@ARGV) { print version_compare(shift, shift), "\\n" }
"""
BY_DPKG = """
while [ $# -gt 0 ]; do
    if dpkg --compare-versions "$1" lt "$2"; then echo -1
    elif dpkg --compare-versions "$1" eq "$2"; then echo 0
    else echo 1; fi
    shift 2
done
"""

ORDERED = [
    "~~", "~~a", "~", "", "0a", "1.0~beta1~svn1245", "1.0~beta1", "1.0~rc1-1", "1.0-0.1", "1.0-1",
    "1.0-1+b1", "1.0-1.1", "1.0a", "1.0+dfsg-1", "1.0.1", "1.2", "1.10", "1:0.1", "2:0~",
]  # fmt: skip

PERL = (
    shutil.which("perl") is not None
    and subprocess.run(
        ["perl", "-MDpkg::Version", "-e", "1"], capture_output=True, check=False
    ).returncode
    == 0
)

# What dpkg takes without a word.
VALID = re.compile(r"(\d+:)?\d[\w.+~-]*?(-[\w.+~]+)?(?<!-)", re.ASCII)

VERSIONS = st.text(alphabet="0019~+.-:aZ", max_size=12)


def test_versions_stand_in_their_order() -> None:
    shuffled = random.Random(7).sample(ORDERED, len(ORDERED))

    assert sorted(shuffled, key=version_key) == ORDERED


@pytest.mark.parametrize(
    ("one", "other"),
    [("1.0", "1.0-0"), ("1.0", "0:1.0"), ("1.00", "1.0"), ("1.", "1.0"), ("", "0"), ("1-", "1")],
)
def test_versions_that_are_written_differently_may_be_equal(one: str, other: str) -> None:
    assert version_key(one) == version_key(other)


@pytest.mark.parametrize(
    ("version", "relation", "wanted", "holds"),
    [
        ("1.0", "<<", "1.0", False),
        ("1.0~1", "<<", "1.0", True),
        ("1.0", "<=", "1.0", True),
        ("1.0", "<", "1.0", True),
        ("1.0", "=", "1.0-0", True),
        ("1.0-1", "=", "1.0", False),
        ("1.0", ">=", "1.1", False),
        ("1.1", ">", "1.1", True),
        ("1.1", ">>", "1.1", False),
        ("1:0", ">>", "9", True),
        ("1.0", "", "", True),
    ],
)
def test_a_relation_holds_or_not(
    version: str, relation: Relation, wanted: str, holds: bool
) -> None:
    assert satisfies(version, relation, wanted) is holds


def test_a_number_of_many_digits_has_its_place() -> None:
    many = "9" * 10_000

    assert compare_versions(f"1.{many}", f"1.{many}0") == -1


@settings(deadline=None)
@given(one=st.text(max_size=20), other=st.text(max_size=20))
def test_any_text_has_a_place(one: str, other: str) -> None:
    assert compare_versions(one, other) == -compare_versions(other, one)


@settings(deadline=None)
@given(st.lists(VERSIONS, min_size=3, max_size=8))
def test_the_order_is_one_order(versions: list[str]) -> None:
    by_key = sorted(versions, key=version_key)
    by_pairs = sorted(versions, key=cmp_to_key(compare_versions))

    assert [version_key(each) for each in by_key] == [version_key(each) for each in by_pairs]


@pytest.mark.skipif(shutil.which("dpkg") is None, reason="needs dpkg")
def test_the_order_is_that_of_dpkg() -> None:
    pairs = random_pairs(random.Random(20), 1000)

    assert differing(pairs, said(pairs, ["sh", "-c", BY_DPKG, "sh"])) == []


@pytest.mark.skipif(not PERL, reason="needs the Perl modules of dpkg")
def test_the_order_of_many_is_that_of_the_modules_of_dpkg() -> None:
    pairs = random_pairs(random.Random(21), 20_000)
    orders = said(pairs, ["perl", "-MDpkg::Version", "-e", BY_PERL])

    assert differing(pairs, orders) == []
    assert set(orders) == {-1, 0, 1}


def said(pairs: list[tuple[str, str]], words: list[str]) -> list[int]:
    """What a program says of pairs, some hundred of them at a time."""
    orders: list[int] = []
    for start in range(0, len(pairs), BATCH):
        batch = [version for pair in pairs[start : start + BATCH] for version in pair]
        done = subprocess.run([*words, *batch], capture_output=True, check=True, text=True)
        assert done.stderr == ""
        orders += map(int, done.stdout.split())
    return orders


def differing(pairs: list[tuple[str, str]], orders: list[int]) -> list[tuple[str, str]]:
    return [
        pair for pair, order in zip(pairs, orders, strict=True) if compare_versions(*pair) != order
    ]


def random_pairs(chance: random.Random, count: int) -> list[tuple[str, str]]:
    """Versions as dpkg takes them; many pairs differ in one piece only."""
    return [(one, changed(chance, one)) for one in (random_version(chance) for _ in range(count))]


def random_version(chance: random.Random) -> str:
    pieces = ["0", "00", "1", "01", "9", "10", "~", "~~", "+", ".", "a", "z", "Z", "rc", "dfsg"]
    epoch = chance.choice(["", "", "", "0:", "1:", "01:", "12:"])
    upstream = chance.choice("019") + "".join(chance.choices(pieces, k=chance.randrange(7)))
    inner = "-" + "".join(chance.choices(pieces, k=2)) if chance.random() < 0.1 else ""
    revision = "-" + "".join(chance.choices(pieces, k=chance.randrange(1, 5)))
    return epoch + upstream + inner + (revision if chance.random() < 0.6 or inner else "")


def changed(chance: random.Random, version: str) -> str:
    if chance.random() < 0.3:
        return random_version(chance)
    if chance.random() < 0.1:
        return version
    at = chance.randrange(version.find(":") + 2, len(version) + 1)
    end = min(len(version), at + chance.randrange(2))
    new = version[:at] + chance.choice(["", "0", "1", "~", "+", ".", "a"]) + version[end:]
    return new if VALID.fullmatch(new) else version
