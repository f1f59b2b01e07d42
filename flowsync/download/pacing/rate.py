"""An account that keeps to so much a second. Pure: it says when, whoever asks does the waiting.

Each piece that is taken moves the moment at which the account is level again by its size divided by
the rate, so pieces are spaced evenly and nothing has to be refilled or looked at again. An account
that lay idle lets a little more through at once, as much as its credit says.
"""

import math


class Spacing:
    """One account. Pieces of different rates may share it; each is booked at its own."""

    __slots__ = ("level_at",)

    def __init__(self) -> None:
        self.level_at = -math.inf
        """From when on the next piece may be taken."""

    def book(self, now: float, seconds: float, credit: float = 0.0) -> None:
        """Take a piece for which the rate grants `seconds`. What was left unused in the last
        `credit` seconds counts for it.
        """
        self.level_at = max(self.level_at, now - credit) + seconds
