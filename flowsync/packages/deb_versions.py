"""The order of Debian versions, `[epoch:]upstream[-revision]`, as deb-version(7) has it.

Epochs are compared as numbers. Upstream parts and revisions are compared piece by piece, a piece
without digits and a number by turns: `~` comes before the end, the end before letters, letters
before other characters. `version_key` brings that into one key, so that Python sorts, and any text
has one: what dpkg would refuse as a version has a place too.
"""

import re
from functools import lru_cache
from typing import Final, Literal, TypeAlias

_Number: TypeAlias = tuple[int, str]
VersionKey: TypeAlias = tuple[_Number, tuple[str | _Number, ...], tuple[str | _Number, ...]]

Relation = Literal["", "<<", "<=", "=", ">=", ">>", "<", ">"]
"""How a version must stand to another one; empty for any. `<` and `>` are old words for `<=` and
`>=`.
"""

_EPOCH: Final = re.compile(r"([0-9]+):(.*)", re.DOTALL)
_PIECES: Final = re.compile(r"([^0-9]*)([0-9]*)")
_END: Final = "\x01"


class _Order(dict[int, int]):
    """The place of each character that is no digit, for `str.translate`."""

    def __missing__(self, character: int) -> int:
        text = chr(character)
        if text == "~":
            place = 0
        elif text.isascii() and text.isalpha():
            place = character
        else:
            place = min(character + 256, 0x10FFFF)
        self[character] = place
        return place


_ORDER: Final = _Order()


def version_key(version: str) -> VersionKey:
    """Return what orders a version among others. Equal keys belong to versions that are equal to
    dpkg, such as `1.0` and `0:1.0-0`.
    """
    epoch, rest = "", version.strip()
    if found := _EPOCH.fullmatch(rest):
        epoch, rest = found.groups()
    upstream, _, revision = rest.rpartition("-") if "-" in rest else (rest, "", "")
    return _number(epoch), _pieces(upstream), _pieces(revision)


def compare_versions(one: str, other: str) -> int:
    """Return -1, 0 or 1: whether a version is before another one, equal to it or behind it."""
    first, second = version_key(one), version_key(other)
    return (first > second) - (first < second)


def satisfies(version: str, relation: Relation, wanted: str) -> bool:
    """Return whether a version stands to the wanted one as the relation says."""
    if not relation:
        return True
    order = compare_versions(version, wanted)
    match relation:
        case "<<":
            return order < 0
        case "<=" | "<":
            return order <= 0
        case "=":
            return order == 0
        case ">=" | ">":
            return order >= 0
        case ">>":
            return order > 0


@lru_cache(maxsize=4096)
def _pieces(text: str) -> tuple[str | _Number, ...]:
    pairs: list[tuple[str, str]] = _PIECES.findall(text)
    # The last pair is empty. It stays where it is the only one: nothing equals `0`.
    pieces: list[str | _Number] = []
    for words, digits in pairs[: max(1, len(pairs) - 1)]:
        pieces += (words.translate(_ORDER) + _END, _number(digits))
    return (*pieces, _END)


def _number(digits: str) -> _Number:
    # Of any length, and as text: Python takes no more than some thousand digits for a number.
    digits = digits.lstrip("0")
    return len(digits), digits
