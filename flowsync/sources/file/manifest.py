"""Reads `PULP_MANIFEST`: bytes of lines in, entries out. No I/O, and no more memory than the lines
at hand.

A line is `path,sha256,size`, split from the right, so that a path may contain commas. White space
around digest and size does not count; that of a path does, because upstream serves the file under
just that name. Blank lines and lines that begin with `#` are comments; a byte-order mark at the
beginning does not count. The format is that of the Pulp project's file plugin.

`./x` and `a/./x` mean `x` and `a/x`, as they do to file systems and in URLs; tools such as `find`
write them. Other paths that could lead out of the folder they are put in, or that a file system or
a URL would not give back as they were, are refused by name.
"""

import codecs
import re
from array import array
from collections.abc import Collection, Iterable, Iterator
from itertools import pairwise
from typing import Final
from urllib.parse import quote, urlsplit, urlunsplit

import msgspec

from flowsync import MetadataError, problem_with_path

MANIFEST_NAME: Final = "PULP_MANIFEST"

_LARGEST_SIZE: Final = (1 << 63) - 1
_SHOWN: Final = 200
_DIGITS: Final = frozenset("0123456789")
_SHA256: Final = re.compile("[0-9a-f]{64}")
_PAGE: Final = (b"<!doctype", b"<html", b"<head", b"<body", b"<?xml", b"<!--")
_OTHER_MARKS: Final = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)


class ManifestEntry(msgspec.Struct, frozen=True):
    """One file: its path below the manifest's folder, its sha256 in lower-case hexadecimal, its
    size in bytes.
    """

    relative_path: str
    sha256: str
    size: int


def parse_lines(
    lines: Iterable[bytes], first_number: int = 1
) -> Iterator[tuple[int, ManifestEntry]]:
    """Yield the entries of `lines` with their numbers, of which the first line has `first_number`.

    Raise `MetadataError` with number and text of a bad line.
    """
    for number, line in enumerate(lines, first_number):
        if line and not line.isspace() and not line.startswith(b"#"):
            yield number, _parse_line(number, line)


def manifest_url(url: str) -> str:
    """Return the URL of the manifest: `url` itself, or the manifest in the folder that `url` names
    by a slash at its end.
    """
    return f"{url}{MANIFEST_NAME}" if url.endswith("/") else url


def folder_url(manifest_url: str) -> str:
    """Return the URL of the manifest's folder, with a slash at its end.

    Query and fragment of the manifest's URL are its own and do not count; a `file://` URL has
    neither (`?` and `#` belong to its path).
    """
    if manifest_url[:5].lower() == "file:":
        return f"{manifest_url.rpartition('/')[0]}/"
    parts = urlsplit(manifest_url)
    return urlunsplit((parts.scheme, parts.netloc, f"{parts.path.rpartition('/')[0]}/", "", ""))


def artifact_url(folder: str, relative_path: str) -> str:
    """Return the URL of a file below the folder of its manifest: the path is percent-encoded but
    for `/` and `:`.
    """
    return folder + quote(relative_path, safe="/:")


def without_mark(beginning: bytes) -> bytes:
    """Return the beginning of a manifest without its byte-order mark. Raise `MetadataError` when
    the mark is not that of UTF-8.
    """
    for mark, encoding in _OTHER_MARKS:
        if beginning.startswith(mark):
            raise MetadataError(f"the manifest is {encoding} text; it must be UTF-8")
    return beginning.removeprefix(codecs.BOM_UTF8)


def path_in(line: bytes) -> bytes | None:
    """Return the path of a line, not yet checked, or None when the line is no entry."""
    fields = line.rsplit(b",", 2)
    if len(fields) != 3 or line.startswith(b"#"):
        return None
    path = fields[0]
    return _plain(path.decode(errors="replace")).encode() if b"./" in path else path


def bad_line(number: int, line: bytes, reason: str) -> MetadataError:
    """Return the error for line `number`, which shows its beginning; a page of HTML is
    called that.
    """
    if line.lstrip()[:9].lower().startswith(_PAGE):
        reason = (
            "it is a line of an HTML or XML page, not 'path,sha256,size'; "
            "where the URL is to name the folder of a manifest, it must end with a slash"
        )
    text = line.rstrip(b"\r\n").decode(errors="backslashreplace")
    shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
    return MetadataError(f"manifest line {number}: {reason}: {shown!r}")


def _parse_line(number: int, line: bytes) -> ManifestEntry:
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise bad_line(number, line, "it is not UTF-8") from error
    fields = text.rsplit(",", 2)
    if len(fields) != 3:
        raise bad_line(number, line, "it is not 'path,sha256,size'")
    path = _plain(fields[0]) if "./" in fields[0] else fields[0]
    sha256, size = fields[1].strip().lower(), fields[2].strip()
    if not _SHA256.fullmatch(sha256):
        raise bad_line(number, line, f"{sha256!r} is not a sha256 digest")
    # 19 digits are more than enough, and few enough for int() to be quick.
    if not 0 < len(size) < 20 or not _DIGITS.issuperset(size) or int(size) > _LARGEST_SIZE:
        raise bad_line(number, line, f"{size!r} is not a size in bytes")
    problem = problem_with_path(path)
    if problem:
        raise bad_line(number, line, f"the path {problem}")
    return ManifestEntry(path, sha256, int(size))


def _plain(path: str) -> str:
    """Return the path without `.` segments at its beginning or in between."""
    first, *others = path.split("/")
    kept = [segment for segment in others[:-1] if segment != "."] + others[-1:]
    return "/".join(kept if first == "." and others else [first, *kept])


# Reads a manifest from disk in blocks of whole lines, however long it is. Blocks the caller, so it
# belongs in a thread.
#
# `survey` reads it once before anything is declared, and refuses it when two lines contradict each
# other. It keeps 8 bytes a line: a hash of its path. Lines whose hashes are equal are then read
# again and compared; equal ones are one line.

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
