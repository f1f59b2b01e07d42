"""Globs as regular expressions of PostgreSQL.

The meaning is that of the standard library's `fnmatch.fnmatchcase` on a whole path: `*` matches
anything, slashes too, `?` one character, `[…]` one of a set and `[!…]` one outside of it; a bracket
that is never closed stands for itself. There is no escape but a bracket.

Every character but ASCII letters and digits goes into the expression by its number, so that nothing
of a pattern can mean anything to the server. Its matcher does not backtrack: no pattern takes more
than linear time.
"""

from typing import Final

_NO_CHARACTER: Final = r"[^\u0001-\U0010ffff]"
_ANY_CHARACTER: Final = "."


def regular_expression(glob: str) -> str:
    """Return the advanced regular expression that matches exactly the texts that `glob` does."""
    parts = []
    position = 0
    while position < len(glob):
        part, position = _next_part(glob, position)
        parts.append(part)
    return f"^{''.join(parts)}$"


def _next_part(glob: str, position: int) -> tuple[str, int]:
    """Translate what begins at `position`; return it with the position behind."""
    character = glob[position]
    if character == "*":
        return ".*", position + 1
    if character == "?":
        return _ANY_CHARACTER, position + 1
    if character == "[":
        end = _end_of_set(glob, position + 1)
        if end is not None:
            return _set(glob[position + 1 : end]), end + 1
    return _literal(character), position + 1


def _end_of_set(glob: str, start: int) -> int | None:
    """Return where the bracket closes. One that comes first, or right after '!', is a member of the
    set.
    """
    members = start + 1 if glob.startswith("!", start) else start
    end = glob.find("]", members + 1)
    return None if end < 0 else end


def _set(members: str) -> str:
    negated = members.startswith("!")
    body = "".join(_ranges(members[1:] if negated else members))
    if not body:
        return _ANY_CHARACTER if negated else _NO_CHARACTER
    return f"[{'^' if negated else ''}{body}]"


def _ranges(members: str) -> list[str]:
    """Translate single characters and ranges; a range from a later to an earlier character holds
    nothing.
    """
    found = []
    position = 0
    while position < len(members):
        first = members[position]
        if members.startswith("-", position + 1) and position + 2 < len(members):
            last = members[position + 2]
            if first <= last:
                found.append(f"{_literal(first)}-{_literal(last)}")
            position += 3
        else:
            found.append(_literal(first))
            position += 1
    return found


def _literal(character: str) -> str:
    if character.isascii() and character.isalnum():
        return character
    return rf"\U{ord(character):08x}"
