"""What makes the upstream of a scenario, one maker a kind of source."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

import msgspec

from bench.syncs import archive, index, tree
from bench.syncs.scenario import Source


class Grow(Protocol):
    """Makes an upstream in a folder, unless it is there."""

    def __call__(self, folder: Path, sizes: Sequence[int], *, bodies: bool) -> Path: ...


class Upstream(msgspec.Struct, frozen=True, kw_only=True):
    """How an upstream is made, how a share of it is changed, and which files it lists."""

    grow: Grow
    change: Callable[[Path, float], None]
    paths: Callable[[Path], Iterator[str]]


UPSTREAMS: Final[Mapping[Source, Upstream]] = {
    "file": Upstream(grow=tree.grow, change=tree.change, paths=tree.paths),
    "deb": Upstream(grow=archive.grow, change=archive.change, paths=archive.paths),
    "pypi": Upstream(grow=index.grow, change=index.change, paths=index.paths),
}
