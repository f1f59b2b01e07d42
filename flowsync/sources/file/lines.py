"""Reads a manifest from disk in blocks of whole lines, however long it is. Blocks the caller, so it
belongs in a thread.

`survey` reads it once before anything is declared, and refuses it when two lines contradict each
other. It keeps 8 bytes a line: a hash of its path. Lines whose hashes are equal are then read again
and compared; equal ones are one line.
"""

from array import array
from collections.abc import Collection, Iterator
from itertools import pairwise
from typing import Final

from flowsync import MetadataError
from flowsync.sources.file.manifest import (
    ManifestEntry,
    bad_line,
    parse_lines,
    path_in,
    without_mark,
)

BLOCK: Final = 32 * 1024
"""Bytes read and parsed in one go: some 300 lines, about 2 ms of the loop's time with all that is
made of them.
"""

LONGEST_LINE: Final = 64 * 1024
"""Bytes of a line, comments included. Something without line ends is no manifest, and must not be
read as one line.
"""

_SORTED: Final = 250_000
"""Hashes that are sorted at a time, as Python's integers: 10 MB. Of more lines, a share is looked
at after the other.
"""

_COMPARED: Final = 20_000
"""Repeated paths that are compared in one reading."""


def blocks(path: str) -> Iterator[list[bytes]]:
    """Yield the lines of the file, some at a time, without the line feeds.

    Raise `MetadataError` for a line that does not end, and for text that is not UTF-8 by its
    byte-order mark.
    """
    number, rest = 0, b""
    with open(path, "rb", buffering=0) as manifest:
        beginning = True
        while chunk := manifest.read(BLOCK):
            *lines, rest = (rest + (without_mark(chunk) if beginning else chunk)).split(b"\n")
            beginning = False
            number += len(lines)
            if len(rest) > LONGEST_LINE:
                raise bad_line(number + 1, rest, f"it is longer than {LONGEST_LINE} bytes")
            if lines:
                yield lines
    if rest:
        yield [rest]


def survey(path: str) -> int:
    """Return how many lines the file has; the last one counts without a line feed too.

    Raise `MetadataError`, with both line numbers, when two lines list one path with different
    digests or sizes.
    """
    lines_total, hashes = 0, array("q")
    for lines in blocks(path):
        lines_total += len(lines)
        found = [hash(listed) for listed in map(path_in, lines) if listed is not None]
        hashes.extend(array("q", found))
    shares = 1 + len(hashes) // _SORTED
    repeated: list[int] = []
    for share in range(shares):
        repeated += _repeated([number for number in hashes if number % shares == share])
    for start in range(0, len(repeated), _COMPARED):
        _compare(path, frozenset(repeated[start : start + _COMPARED]))
    return lines_total


def _repeated(numbers: list[int]) -> set[int]:
    """Return the numbers that are there more than once."""
    if len(set(numbers)) == len(numbers):
        return set()
    numbers.sort()
    return {number for number, following in pairwise(numbers) if number == following}


def _compare(path: str, repeated: Collection[int]) -> None:
    """Raise `MetadataError` when lines with one of these hashes contradict each other."""
    seen: dict[str, tuple[int, ManifestEntry]] = {}
    first_number = 1
    for lines in blocks(path):
        for number, line in enumerate(lines, first_number):
            found = path_in(line)
            if found is None or hash(found) not in repeated:
                continue
            for _, entry in parse_lines([line], number):
                before, other = seen.setdefault(entry.relative_path, (number, entry))
                if other != entry:
                    raise MetadataError(
                        f"manifest lines {before} and {number} contradict each other: both list "
                        f"{entry.relative_path!r}, with different digests or sizes"
                    )
        first_number += len(lines)
