"""What becomes of a suite whose indexes do not fit its list: upstream may be amid a switch. Pure.

Nothing of a suite is declared before all of its indexes are verified. When one of them is wrong or
not there, the list is asked for again. Another list begins a new round; the same list is wrong.
"""

from collections.abc import Sequence
from typing import Final, NoReturn

from flowsync import MetadataError

PAUSES: Final = (0.0, 5.0, 20.0)
"""Seconds before each round."""


class WrongIndex(Exception):  # noqa: N818 - it begins a round
    """Says that an index is not what its suite lists."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path, self.reason = path, reason


class Rounds:
    """The rounds of one suite."""

    def __init__(self, suite: str, pauses: Sequence[float] = PAUSES) -> None:
        self._suite = suite
        self._pauses = list(pauses)
        self._seen: list[str] = []

    def pause(self) -> float:
        """Return the seconds before the round that begins."""
        return self._pauses[min(len(self._seen), len(self._pauses) - 1)]

    def begin(self, sha256: str, wrong: WrongIndex | None) -> None:
        """Note the list with which a round begins. `wrong` is what the one before ended with.

        Raise `MetadataError` when the list is the one that was wrong, or no round is left.
        """
        if wrong is not None and self._seen[-1:] == [sha256]:
            self._give_up(wrong, "and the suite lists nothing else")
        if wrong is not None and len(self._seen) >= len(self._pauses):
            self._give_up(wrong, f"in {len(self._seen)} rounds the suite was never whole")
        self._seen.append(sha256)

    def _give_up(self, wrong: WrongIndex, why: str) -> NoReturn:
        raise MetadataError(f"suite {self._suite}: {wrong.path}: {wrong.reason}, {why}")
