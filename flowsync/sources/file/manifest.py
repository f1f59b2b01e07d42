"""Reads `PULP_MANIFEST`: bytes of lines in, entries out. No I/O, and no more memory than the lines at hand.

A line is `path,sha256,size`, split from the right, so that a path may contain commas. Blank lines and lines that begin with `#` are
comments. The format is that of the Pulp project's file plugin.

A path that could lead out of the folder it is put in, or that a file system or a URL would not give back as it was, is refused by
name: absolute, with empty, `.` or `..` segments, with control characters. Paths that nest (a file where another path needs a folder) are
found by the catalog, which sees all of them.
"""

from collections.abc import Iterable, Iterator
from urllib.parse import quote, urlsplit, urlunsplit

import msgspec

from flowsync import MetadataError

MANIFEST_NAME = "PULP_MANIFEST"

_DIGITS = frozenset("0123456789")
_HEX_DIGITS = frozenset("0123456789abcdef")


class ManifestEntry(msgspec.Struct, frozen=True):
    """One file: its path below the manifest's folder, its sha256 in lower-case hexadecimal, its size in bytes."""

    relative_path: str
    sha256: str
    size: int


def parse_lines(lines: Iterable[bytes], first_number: int = 1) -> Iterator[ManifestEntry]:
    """Yield the entries of `lines`, the first of which has `first_number`. Raise `MetadataError` with number and text of a bad line."""
    for number, line in enumerate(lines, first_number):
        text = line.strip()
        if text and not text.startswith(b"#"):
            yield _parse_line(number, text)


def artifact_url(manifest_url: str, relative_path: str) -> str:
    """Return the URL of a file: the manifest's folder and the path, percent-encoded but for `/` and `:`."""
    parts = urlsplit(manifest_url)
    folder = parts.path.rpartition("/")[0]
    path = f"{folder}/{quote(relative_path, safe='/:')}"
    return urlunsplit((parts.scheme, parts.netloc, path, "", ""))


def manifest_url(url: str) -> str:
    """Return the URL of the manifest: `url` itself, or the manifest in the folder that `url` names by a slash at its end."""
    return f"{url}{MANIFEST_NAME}" if url.endswith("/") else url


def _parse_line(number: int, line: bytes) -> ManifestEntry:
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise _bad(number, repr(line), "it is not UTF-8") from error
    fields = text.rsplit(",", 2)
    if len(fields) != 3:
        raise _bad(number, text, "it is not 'path,sha256,size'")
    path, sha256, size = fields[0], fields[1].strip().lower(), fields[2].strip()
    if len(sha256) != 64 or not _HEX_DIGITS.issuperset(sha256):
        raise _bad(number, text, f"{sha256!r} is not a sha256 digest")
    if not size or not _DIGITS.issuperset(size):
        raise _bad(number, text, f"{size!r} is not a size in bytes")
    problem = _problem_with(path)
    if problem:
        raise _bad(number, text, f"path {path!r} {problem}")
    return ManifestEntry(path, sha256, int(size))


def _problem_with(path: str) -> str | None:
    if not path:
        return "is empty"
    if path.startswith("/"):
        return "is absolute"
    if not path.isprintable() and any(
        ord(character) < 32 or ord(character) == 127 for character in path
    ):
        return "contains a control character"
    segments = path.split("/")
    if ".." in segments:
        return "contains '..'"
    if "" in segments or "." in segments:
        return "contains an empty or '.' segment"
    return None


def _bad(number: int, text: str, reason: str) -> MetadataError:
    shown = text if len(text) <= 200 else f"{text[:200]}…"
    return MetadataError(f"manifest line {number}: {reason}: {shown}")
