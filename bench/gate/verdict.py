"""What two sets of figures say: which became worse, which better, and which cannot be compared.
Holds no clock and runs nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

SLOWER: Final = 1.25
"""A minimum that is larger by more than this is a regression."""

MORE: Final = 1.02
"""A count that is larger by more than this is a regression."""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A figure of both sides."""

    name: str
    base: float
    head: float

    @property
    def ratio(self) -> float:
        if self.base:
            return self.head / self.base
        return 1.0 if not self.head else float("inf")


class Turn(msgspec.Struct, frozen=True):
    """The minima of both sides in one turn, by the ids of the benches."""

    base: Mapping[str, float]
    head: Mapping[str, float]


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """All figures that both sides have, worst first; those that are regressions; and the names that
    only one side has.
    """

    compared: tuple[Change, ...]
    regressions: tuple[Change, ...]
    only_base: tuple[str, ...]
    only_head: tuple[str, ...]


def judge(base: Mapping[str, float], head: Mapping[str, float], limit: float) -> Verdict:
    """Compare the figures of both sides by name; larger is worse."""
    changes = [
        Change(name=name, base=value, head=head[name])
        for name, value in base.items()
        if name in head
    ]
    changes.sort(key=lambda change: (-change.ratio, change.name))
    return Verdict(
        compared=tuple(changes),
        regressions=tuple(change for change in changes if change.ratio > limit),
        only_base=tuple(sorted(base.keys() - head.keys())),
        only_head=tuple(sorted(head.keys() - base.keys())),
    )


def judge_turns(turns: Sequence[Turn], limit: float) -> Verdict:
    """Compare the minima over all turns. A regression must show in them, and in two of three turns
    of its own.
    """
    verdict = judge(
        _minima(turn.base for turn in turns), _minima(turn.head for turn in turns), limit
    )
    lasting = [change for change in verdict.regressions if _lasts(turns, change.name, limit)]
    return msgspec.structs.replace(verdict, regressions=tuple(lasting))


def _minima(turns: Iterable[Mapping[str, float]]) -> dict[str, float]:
    least: dict[str, float] = {}
    for turn in turns:
        for name, value in turn.items():
            least[name] = min(value, least.get(name, value))
    return least


def _lasts(turns: Sequence[Turn], name: str, limit: float) -> bool:
    both = [turn for turn in turns if name in turn.base and name in turn.head]
    slower = [turn for turn in both if turn.head[name] > limit * turn.base[name]]
    return 3 * len(slower) >= 2 * len(both)


def as_text(title: str, verdict: Verdict) -> str:
    """Return the verdict for people: what got worse or better by a tenth or a regression's measure,
    and what was not compared.
    """
    lines = [f"{title}: {len(verdict.compared)} compared, {len(verdict.regressions)} worse"]
    for change in verdict.compared:
        failed = change in verdict.regressions
        if failed or not 0.9 <= change.ratio <= 1.1:
            mark = "WORSE" if failed else ""
            lines.append(
                f"  {change.ratio:6.2f} × {change.base:>11.6g} → {change.head:<11.6g} "
                f"{change.name} {mark}".rstrip()
            )
    for side, names in (("base", verdict.only_base), ("this tree", verdict.only_head)):
        lines += [f"  only in {side}, not compared: {name}" for name in names]
    return "\n".join(lines)
