"""Reads a manifest from disk in blocks of whole lines, however long it is. Blocks the caller, so it belongs in a thread."""

from collections.abc import Iterator
from typing import Final

from flowsync.sources.file.manifest import bad_line

BLOCK: Final = 32 * 1024
"""Bytes read and parsed in one go: some 300 lines, about 2 ms of the loop's time with all that is made of them."""

LONGEST_LINE: Final = 64 * 1024
"""Bytes of a line, comments included. Something without line ends is no manifest, and must not be read as one line."""


def blocks(path: str) -> Iterator[list[bytes]]:
    """Yield the lines of the file, some at a time, without the line feeds. Raise `MetadataError` for a line that does not end."""
    number, rest = 0, b""
    with open(path, "rb", buffering=0) as manifest:
        while chunk := manifest.read(BLOCK):
            *lines, rest = (rest + chunk).split(b"\n")
            number += len(lines)
            if len(rest) > LONGEST_LINE:
                raise bad_line(number + 1, rest, f"it is longer than {LONGEST_LINE} bytes")
            if lines:
                yield lines
    if rest:
        yield [rest]


def count_lines(path: str) -> int:
    """Return how many lines the file has; the last one counts without a line feed too."""
    lines, last = 0, b"\n"
    with open(path, "rb", buffering=0) as manifest:
        while block := manifest.read(1 << 20):
            lines += block.count(b"\n")
            last = block[-1:]
    return lines if last == b"\n" else lines + 1
