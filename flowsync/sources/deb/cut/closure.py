"""Finds what packages need, through Pre-Depends, Depends and Provides. Pure.

1. Of alternatives, the first that there is counts, as for apt. A version that is asked for must
   hold; a package that only provides a name has the version that it provides it with.
2. A need is met in the suite of the package, and only if that has nothing, in another one. A
   package for all architectures is followed for each of them.
3. A package that lacks something itself counts only where nothing else does, and so does one of
   which clients would install a newer version.
4. Of several versions that hold, the newest is kept. Of several packages that provide a name, one
   that is kept already, or else the first by priority and order of the index; in its newest
   version, if that provides it.

Needs are read when a package is reached, so that those of all others cost memory only.
"""

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple, cast

import msgspec

from flowsync.packages.deb_versions import Relation, satisfies, version_key

_ROUNDS: Final = 32
"""How often the way is gone again at most, around packages that turned out to lack something."""

_TOLD: Final = 20
_SHOWN: Final = 200

_ALL: Final = "all"
_ANY: Final = frozenset({"", "any", "native"})

_PRIORITIES: Final = {"required": 0, "important": 1, "standard": 2, "optional": 3, "extra": 4}

# Of what may stand behind it, restrictions to architectures and profiles, binary packages have
# nothing.
_NEED: Final = re.compile(
    r"\s*([A-Za-z0-9][A-Za-z0-9+._-]*)(?::([a-z0-9-]+))?\s*"
    r"(?:\(\s*(<<|<=|=|>=|>>|<|>)\s*([^\s()]+)\s*\))?"
)


class Place(NamedTuple):
    """Suite and architecture of an index."""

    suite: str
    architecture: str


class Candidate(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A package that may be kept. `wanted`: the other rules keep it."""

    place: Place
    package: str
    version: str
    architecture: str
    priority: str
    needs: str
    provides: str
    wanted: bool

    @property
    def identity(self) -> tuple[Place, str, str]:
        return self.place, self.package, self.version


class Need(NamedTuple):
    """A package that is asked for, in some versions, perhaps of one architecture."""

    package: str
    architecture: str = ""
    relation: Relation = ""
    version: str = ""


class Closure:
    """Packages, and all that they need. `add` all of them, `close` once, then ask."""

    def __init__(self) -> None:
        self._packages: dict[str, list[Candidate]] = {}
        self._providers: dict[str, list[tuple[str, Candidate]]] = {}
        self._places: dict[Place, None] = {}
        self._kept: set[tuple[Place, str, str]] = set()
        self._lacking: set[tuple[Place, str, str]] = set()
        self.unmet: list[str] = []
        """What packages need and no index has: the first of it, in words."""

    def add(self, candidate: Candidate) -> None:
        """Add a package that may be kept."""
        self._places[candidate.place] = None
        self._packages.setdefault(candidate.package, []).append(candidate)
        if candidate.provides:
            for alternatives in needs_of(candidate.provides):
                for provided in alternatives[:1]:
                    version = provided.version if provided.relation == "=" else ""
                    self._providers.setdefault(provided.package, []).append((version, candidate))

    def close(self, chosen: Callable[[Candidate], bool]) -> None:
        """Keep the packages that are wanted and chosen, and all that they need."""
        roots = [
            candidate
            for candidates in self._packages.values()
            for candidate in candidates
            if candidate.wanted and chosen(candidate)
        ]
        architectures = dict.fromkeys(place.architecture for place in self._places)
        for _ in range(_ROUNDS):
            lacking = len(self._lacking)
            self._kept = {root.identity for root in roots}
            self.unmet = []
            for architecture in [each for each in architectures if each != _ALL] or [_ALL]:
                self._follow(architecture, roots)
            if len(self._lacking) == lacking:
                break

    def has(self, place: Place, package: str, version: str) -> bool:
        """Say whether a package is kept."""
        return (place, package, version) in self._kept

    def _follow(self, architecture: str, roots: Sequence[Candidate]) -> None:
        """Keep what packages need on machines of one architecture."""
        fitting = (architecture, _ALL)
        waiting = deque(root for root in roots if root.place.architecture in fitting)
        reached = {root.identity for root in waiting}
        met: dict[tuple[str, tuple[Need, ...]], Candidate | None] = {}
        while waiting:
            candidate = waiting.popleft()
            suite = candidate.place.suite
            for alternatives in needs_of(candidate.needs):
                if (suite, alternatives) not in met:
                    met[suite, alternatives] = self._meeting(suite, architecture, alternatives)
                    if met[suite, alternatives] is None:
                        self._tell_unmet(candidate, alternatives)
                found = met[suite, alternatives]
                if found is None or found.identity in self._lacking:
                    self._lacking.add(candidate.identity)
                if found is not None and found.identity not in reached:
                    reached.add(found.identity)
                    self._kept.add(found.identity)
                    waiting.extend(self._alike(found))

    def _alike(self, candidate: Candidate) -> list[Candidate]:
        """Return the packages of one name and version: two of them may need something else."""
        some = self._packages[candidate.package]
        return [each for each in some if each.identity == candidate.identity]

    def _meeting(
        self, own: str, architecture: str, alternatives: Sequence[Need]
    ) -> Candidate | None:
        """Return the package that meets one of the alternatives for a package of the suite `own`:
        one that lacks nothing, in its newest version; or else in another one, or else any.
        """
        suites = dict.fromkeys((own, *(place.suite for place in self._places)))
        lacking: Candidate | None = None
        for suite in suites:
            places = (Place(suite, architecture), Place(suite, _ALL))
            older: Candidate | None = None
            for need in alternatives:
                for found in (self._newest(places, need), self._provider(places, need)):
                    if found is None:
                        continue
                    if found.identity in self._lacking:
                        lacking = lacking or found
                    elif self._is_newest(places, found):
                        return found
                    else:
                        older = older or found
            if older is not None:
                return older
        return lacking

    def _newest(self, places: Sequence[Place], need: Need) -> Candidate | None:
        fitting = [
            candidate
            for candidate in self._packages.get(need.package, ())
            if candidate.place in places
            and need.architecture in _ANY | {candidate.architecture}
            and satisfies(candidate.version, need.relation, need.version)
        ]
        return _newest_of(self._whole(fitting))

    def _provider(self, places: Sequence[Place], need: Need) -> Candidate | None:
        fitting = self._whole(
            candidate
            for version, candidate in self._providers.get(need.package, ())
            if candidate.place in places
            and need.architecture in _ANY | {candidate.architecture}
            and (not need.relation or version)
            and satisfies(version, need.relation, need.version)
        )
        newest = [each for each in fitting if self._is_newest(places, each)]
        fitting = newest or fitting
        for candidate in fitting:
            if candidate.identity in self._kept:
                return candidate
        if not fitting:
            return None
        # The first of those with the least number.
        first = min(fitting, key=lambda each: _PRIORITIES.get(each.priority, 3))
        return _newest_of(each for each in fitting if each.package == first.package)

    def _is_newest(self, places: Sequence[Place], candidate: Candidate) -> bool:
        newest = self._newest(places, Need(candidate.package))
        return newest is not None and newest.version == candidate.version

    def _whole(self, fitting: Iterable[Candidate]) -> list[Candidate]:
        """Return those that lack nothing, or else all."""
        found = list(fitting)
        return [each for each in found if each.identity not in self._lacking] or found

    def _tell_unmet(self, candidate: Candidate, alternatives: Sequence[Need]) -> None:
        if len(self.unmet) < _TOLD:
            words = " | ".join(map(_in_words, alternatives))
            self.unmet.append(
                f"{candidate.package} {candidate.version} in {candidate.place.suite} needs "
                f"{words[:_SHOWN]}"
            )


def needs_of(field: str) -> Iterator[tuple[Need, ...]]:
    """Yield the alternatives of each need of a field. What cannot be understood is left out."""
    for group in field.split(","):
        alternatives = []
        for text in group.split("|"):
            found = _NEED.match(text)
            if found is not None:
                package, architecture, relation, version = found.groups(default="")
                alternatives.append(
                    Need(package, architecture, cast("Relation", relation), version)
                )
        if alternatives:
            yield tuple(alternatives)


def _newest_of(candidates: Iterable[Candidate]) -> Candidate | None:
    return max(candidates, key=lambda each: version_key(each.version), default=None)


def _in_words(need: Need) -> str:
    qualifier = f":{need.architecture}" if need.architecture else ""
    version = f" ({need.relation} {need.version})" if need.relation else ""
    return f"{need.package}{qualifier}{version}"
