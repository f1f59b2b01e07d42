"""The scenarios of whole syncs: what upstream has, in which state the home is, and what is
measured.

A scenario names its files by size only; `tree.py` makes them. `first` scenarios begin with an empty
store and a running-in of the database server's files (initdb), the others with the repository as an
earlier sync left it, so what is measured is one command of the command line, start of the process
and of the embedded server included.
"""

import random
from collections.abc import Callable, Sequence
from typing import Final, Literal

import msgspec

Kind = Literal["first", "again"]

Source = Literal["file", "deb", "pypi"]

KIB: Final = 1024
MIB: Final = 1024 * KIB

_STAYS: Final = 256 * MIB


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """One whole sync. `sizes` gives the files' sizes in bytes for a share of the full scenario
    (1.0).

    `options` go to `flowsync sync`. With `bodies` the files exist and plain downloaders can take
    part; without, only the manifest does. `changed` is the share of the files that change before
    each measured run. With several `repositories` each has its part of the files, and all are
    synced at once in one engine; one sync of the same files takes part beside them. `source` is the
    kind of upstream; with another one than `file` the mirrors of its users take part.
    """

    name: str
    says: str
    kind: Kind
    sizes: Callable[[float], Sequence[int]]
    options: tuple[str, ...] = ("--mirror",)
    bodies: bool = True
    changed: float = 0.0
    repositories: int = 1
    source: Source = "file"

    def stays(self, share: float) -> bool:
        """Say whether a share of the scenario is so small that each run may have a folder of its
        own, kept until all is measured.
        """
        return sum(self.sizes(share)) <= _STAYS


def _equal(count: int, size: int) -> Callable[[float], Sequence[int]]:
    return lambda share: [size] * max(1, round(count * share))


def _mixed(count: int, total: int) -> Callable[[float], Sequence[int]]:
    """Sizes of a log-normal distribution, the same ones each time, that add up to about `total`."""

    def sizes(share: float) -> Sequence[int]:
        draw = random.Random(20_000)
        drawn = [draw.lognormvariate(10.5, 1.8) for _ in range(max(1, round(count * share)))]
        scale = total * share / sum(drawn)
        return [max(1, round(size * scale)) for size in drawn]

    return sizes


SCENARIOS: Final = {
    scenario.name: scenario
    # Those with many small files come first, before anything large was removed (`compare.py`, 4).
    for scenario in (
        Scenario(
            name="first_small",
            says="first sync of 20 000 files of 4 KiB",
            kind="first",
            sizes=_equal(20_000, 4 * KIB),
        ),
        Scenario(
            name="concurrent_16",
            says="first sync of 20 000 files of 4 KiB, in 16 repositories at once",
            kind="first",
            sizes=_equal(20_000, 4 * KIB),
            repositories=16,
        ),
        Scenario(
            name="first_mixed",
            says="first sync of 5 000 files, log-normal sizes, 1 GB",
            kind="first",
            sizes=_mixed(5_000, 1_000_000_000),
        ),
        Scenario(
            name="first_large",
            says="first sync of 40 files of 64 MiB",
            kind="first",
            sizes=_equal(40, 64 * MIB),
        ),
        Scenario(
            name="resync_full",
            says="the 20 000 files again, nothing changed, forced",
            kind="again",
            sizes=_equal(20_000, 4 * KIB),
            options=("--mirror", "--force"),
        ),
        Scenario(
            name="resync_skip",
            says="the 20 000 files again, nothing changed, skipped by one request",
            kind="again",
            sizes=_equal(20_000, 4 * KIB),
        ),
        Scenario(
            name="resync_1pct",
            says="100 000 units on demand again, 1 % of them changed",
            kind="again",
            sizes=_equal(100_000, 4 * KIB),
            options=("--mirror", "--policy", "on_demand"),
            bodies=False,
            changed=0.01,
        ),
        Scenario(
            name="on_demand_200k",
            says="first sync of 200 000 units on demand: metadata only",
            kind="first",
            sizes=_equal(200_000, 4 * KIB),
            options=("--mirror", "--policy", "on_demand"),
            bodies=False,
        ),
        Scenario(
            name="mirror_1m",
            says="first sync of 1 000 000 units on demand: metadata only",
            kind="first",
            sizes=_equal(1_000_000, 4 * KIB),
            options=("--mirror", "--policy", "on_demand"),
            bodies=False,
        ),
        Scenario(
            name="deb_first",
            says="first sync of a suite of 2 000 packages, log-normal sizes, 200 MB",
            kind="first",
            sizes=_mixed(2_000, 200_000_000),
            source="deb",
        ),
        Scenario(
            name="deb_1pct",
            says="the 2 000 packages again, 1 % of them changed",
            kind="again",
            sizes=_mixed(2_000, 200_000_000),
            changed=0.01,
            source="deb",
        ),
        Scenario(
            name="deb_1pct_60k",
            says="60 000 packages of 1 KiB again, 1 % of them changed",
            kind="again",
            sizes=_equal(60_000, KIB),
            changed=0.01,
            source="deb",
        ),
        Scenario(
            name="pypi_first",
            says="first sync of 300 projects with 3 000 files of 16 KiB",
            kind="first",
            sizes=_equal(3_000, 16 * KIB),
            source="pypi",
        ),
    )
}
