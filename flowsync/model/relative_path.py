"""The paths at which artifacts belong to content: relative, and given back by file systems and URLs
as they were. Pure.

A path is valid Unicode of at most 2048 bytes without control characters. Its segments, between
slashes, have at most 255 bytes; none is empty, `.` or `..`. So it neither leads out of the folder
it is put in nor means the same as another path. Paths that nest (a file where another path needs a
folder) are found by the catalog, which sees all of them.

Text that every part of flowsync can hold: the catalog's database takes neither NUL nor lone
surrogates.
"""

import re
from typing import Final
from unicodedata import category

LONGEST_PATH: Final = 2048
"""Bytes of a path. More would fit neither the catalog's indexes nor, below some folder, the
system's paths.
"""

LONGEST_SEGMENT: Final = 255
"""Bytes between two slashes: what file systems take as a name."""

_SEGMENT: Final = r"(?!\.{1,2}(?:/|\Z))[ -.0-~]{1,255}"
_PLAIN: Final = re.compile(rf"(?=.{{1,{LONGEST_PATH}}}\Z){_SEGMENT}(?:/{_SEGMENT})*")
"""Paths of printable ASCII that keep all rules: nearly all."""


def problem_with_path(path: object) -> str | None:
    """Return what keeps `path` from being the relative path of an artifact, such as "is absolute";
    None when nothing does.
    """
    # Asked for each artifact twice, so it takes few steps.
    if type(path) is str and _PLAIN.fullmatch(path):
        return None
    if not isinstance(path, str):
        return f"is no text but of type {type(path).__name__}"
    return _problem_with_signs(path) or _problem_with_segments(path) or _problem_with_length(path)


def shown_path(path: object) -> str:
    """Return the path as errors show it: escaped, and of a very long one the beginning."""
    shown = repr(path)
    return shown if len(shown) <= 300 else f"{shown[:300]}…"


def _problem_with_signs(path: str) -> str | None:
    if not path:
        return "is empty"
    if path.isprintable():
        return None
    found = {category(sign) for sign in path}
    if "Cc" in found:
        return "contains a control character"
    return "contains a lone surrogate, which no text may" if "Cs" in found else None


def _problem_with_segments(path: str) -> str | None:
    segments = path.split("/")
    if not segments[0]:
        return "is absolute"
    if ".." in segments:
        return "contains '..'"
    if "" in segments or "." in segments:
        return "contains an empty or '.' segment"
    return None


def _problem_with_length(path: str) -> str | None:
    encoded = path.encode()
    if len(encoded) > LONGEST_PATH:
        return f"is longer than {LONGEST_PATH} bytes"
    if max(map(len, encoded.split(b"/"))) > LONGEST_SEGMENT:
        return f"has a segment of more than {LONGEST_SEGMENT} bytes"
    return None


def problem_with_text(text: object) -> str | None:
    """Return what keeps `text` from being recorded, such as "holds a NUL"; None when
    nothing does.
    """
    if not isinstance(text, str):
        return f"is no text but of type {type(text).__name__}"
    if text.isascii():
        return "holds a NUL" if "\0" in text else None
    if "\0" in text:
        return "holds a NUL"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "holds a lone surrogate, which is no valid Unicode"
    return None
