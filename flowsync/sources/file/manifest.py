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
from collections.abc import Iterable, Iterator
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
