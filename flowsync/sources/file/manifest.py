"""Reads `PULP_MANIFEST`: bytes of lines in, entries out. No I/O, and no more memory than the lines at hand.

A line is `path,sha256,size`, split from the right, so that a path may contain commas. White space around digest and size does not count; that
of a path does, because upstream serves the file under just that name. Blank lines and lines that begin with `#` are comments. The format is that of
the Pulp project's file plugin.

A path that could lead out of the folder it is put in, or that a file system or a URL would not give back as it was, is refused by
name: absolute, with empty, `.` or `..` segments, with control characters, too long. Paths that nest (a file where another path needs a
folder) are found by the catalog, which sees all of them.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final
from unicodedata import category
from urllib.parse import quote, urlsplit, urlunsplit

import msgspec

from flowsync import MetadataError

MANIFEST_NAME: Final = "PULP_MANIFEST"

LONGEST_PATH: Final = 2048
"""Bytes of a path. More would fit neither the catalog's indexes nor, below some folder, the system's paths."""

LONGEST_SEGMENT: Final = 255
"""Bytes between two slashes: what file systems take as a name."""

_LARGEST_SIZE: Final = (1 << 63) - 1
_SHOWN: Final = 200
_DIGITS: Final = frozenset("0123456789")
_SHA256: Final = re.compile("[0-9a-f]{64}")


class ManifestEntry(msgspec.Struct, frozen=True):
    """One file: its path below the manifest's folder, its sha256 in lower-case hexadecimal, its size in bytes."""

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
    """Return the URL of the manifest: `url` itself, or the manifest in the folder that `url` names by a slash at its end."""
    return f"{url}{MANIFEST_NAME}" if url.endswith("/") else url


def folder_url(manifest_url: str) -> str:
    """Return the URL of the manifest's folder, with a slash at its end.

    Query and fragment of the manifest's URL are its own and do not count; a `file://` URL has neither (`?` and `#` belong to its path).
    """
    if manifest_url[:5].lower() == "file:":
        return f"{manifest_url.rpartition('/')[0]}/"
    parts = urlsplit(manifest_url)
    return urlunsplit((parts.scheme, parts.netloc, f"{parts.path.rpartition('/')[0]}/", "", ""))


def artifact_url(folder: str, relative_path: str) -> str:
    """Return the URL of a file below the folder of its manifest: the path is percent-encoded but for `/` and `:`."""
    return folder + quote(relative_path, safe="/:")


def bad_line(number: int, line: bytes, reason: str) -> MetadataError:
    """Return the error for line `number`, which shows its beginning."""
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
    path, sha256, size = fields[0], fields[1].strip().lower(), fields[2].strip()
    if not _SHA256.fullmatch(sha256):
        raise bad_line(number, line, f"{sha256!r} is not a sha256 digest")
    # 19 digits are more than enough, and few enough for int() to be quick.
    if not 0 < len(size) < 20 or not _DIGITS.issuperset(size) or int(size) > _LARGEST_SIZE:
        raise bad_line(number, line, f"{size!r} is not a size in bytes")
    problem = _problem_with(path)
    if problem:
        raise bad_line(number, line, f"the path {problem}")
    return ManifestEntry(path, sha256, int(size))


def _problem_with(path: str) -> str | None:
    if not path:
        return "is empty"
    if not path.isprintable() and any(category(character) == "Cc" for character in path):
        return "contains a control character"
    # No character takes more than four bytes.
    if len(path) * 4 > LONGEST_SEGMENT:
        return _problem_with_segments(path) or _problem_with_length(path.encode())
    return _problem_with_segments(path)


def _problem_with_segments(path: str) -> str | None:
    segments = path.split("/")
    if not segments[0]:
        return "is absolute"
    if ".." in segments:
        return "contains '..'"
    if "" in segments or "." in segments:
        return "contains an empty or '.' segment"
    return None


def _problem_with_length(path: bytes) -> str | None:
    if len(path) > LONGEST_PATH:
        return f"is longer than {LONGEST_PATH} bytes"
    if max(map(len, path.split(b"/"))) > LONGEST_SEGMENT:
        return f"has a segment of more than {LONGEST_SEGMENT} bytes"
    return None
