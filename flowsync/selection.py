"""What kinds of source share to choose what they take: patterns of names, ages, and refusals that
say which rule left something out.

Values and pure functions, public to kinds of source. Amounts such as `7d` and `200MB` are here too,
as options have them.
"""

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from fnmatch import translate

import msgspec

from flowsync.model.amounts import parse_size as parse_size
from flowsync.model.amounts import seconds_of as seconds_of


class Refusal(msgspec.Struct, frozen=True, gc=False):
    """What is not taken: `filename`, the `rule` that says so, which is the name of an option or of
    a part of upstream's metadata, the reason in words where the rule alone does not tell, and the
    moment when the rule stops, where it does.
    """

    filename: str
    rule: str
    reason: str = ""
    until: datetime | None = None

    def in_words(self) -> str:
        """Return what is told of it: "left out by `min_age` until 2026-12-08 10:00 UTC"."""
        words = f"left out by `{self.rule}`"
        if self.until is not None:
            words += f" until {self.until.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
        return f"{words}: {self.reason}" if self.reason else words


class NamePatterns:
    """Names, and patterns of names with `*`, `?` and `[…]`. What is asked must be spelled as they
    are.
    """

    __slots__ = ("_match", "texts")

    def __init__(self, patterns: Iterable[str]) -> None:
        self.texts = tuple(patterns)
        whole = "|".join(translate(text) for text in self.texts)
        self._match = re.compile(whole).match if self.texts else None

    def __contains__(self, name: object) -> bool:
        return self._match is not None and isinstance(name, str) and bool(self._match(name))

    def __bool__(self) -> bool:
        return self._match is not None


def read_time(text: str | None) -> datetime | None:
    """Return the moment that a time in ISO 8601 says, in UTC, which is also meant where it names no
    zone. Return `None` for any other text.
    """
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


_LAST = datetime.max.replace(tzinfo=UTC)


class MinimumAge:
    """Judges whether what was published at a moment is old enough at the moment `now`.

    What has no time is refused unless `without_time` says otherwise.
    """

    __slots__ = ("_without_time", "age", "now")

    def __init__(self, seconds: float, now: datetime, *, without_time: bool = False) -> None:
        self.age = timedelta(seconds=seconds)
        self.now = now
        self._without_time = without_time

    def refusal(self, filename: str, published: str | None) -> Refusal | None:
        """Return why it is not taken yet, or `None`."""
        if not self.age:
            return None
        moment = read_time(published)
        if moment is None:
            if self._without_time:
                return None
            return Refusal(filename, "no_time", "upstream does not tell when it was published")
        try:
            until = moment + self.age
        except OverflowError:
            until = _LAST
        return Refusal(filename, "min_age", until=until) if until > self.now else None
