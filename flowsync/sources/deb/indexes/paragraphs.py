"""Reads `Packages`, `Sources` and `SHA256SUMS`: pieces of bytes in, entries out. No I/O, and no
more memory than a piece and the paragraph at hand.

A paragraph ends at an empty line, and at the end of the file. A line that begins with a blank goes
on with the field above it, also one of blanks only, as apt has it. Names of fields count in any
case. A field that is there twice is an error: clients would read one or the other.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

import msgspec

from flowsync import MetadataError, problem_with_path
from flowsync.sources.deb.indexes.release import plain_path

KEY: Final = "flowsync.asc"
"""The path of the certificate with which a mirror signs its own suites."""

_METADATA: Final = frozenset(
    {"InRelease", "Release", "Release.gpg", KEY}
    | {
        f"{name}{packing}"
        for name in ("Packages", "Sources", "Contents")
        for packing in ("", ".xz", ".zst", ".gz", ".bz2", ".lz4")
    }
)

LONGEST: Final = 4 << 20
"""Bytes of a paragraph."""

_END: Final = re.compile(rb"\n\r*\n")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_DIGESTS: Final = (("sha256", _SHA256), ("sha512", re.compile(r"[0-9a-f]{128}")))
_WORD: Final = re.compile(r"[!-~]{1,255}")
_SIZE: Final = re.compile(r"[0-9]{1,18}")

# The line end before a field is what is looked for, and then the letter behind it: that is twice as
# fast as looking at each `^`.
_PACKAGE: Final = re.compile(
    rb"\n(?=[avpfsAVPFS])(package|version|architecture|filename|size|sha256|sha512)[ \t]*:"
    rb"[ \t]*([^\n]*)",
    re.IGNORECASE,
)
_SOURCE: Final = re.compile(
    rb"\n(package|version|directory|checksums-sha256)[ \t]*:((?:[^\n]*)(?:\n[ \t][^\n]*)*)",
    re.IGNORECASE,
)
_ORDER: Final = (b"Package", b"Version", b"Architecture", b"Filename", b"Size", b"SHA256")
_PLAIN: Final = re.compile(
    rb"(?:[!-~]{1,255}\0){3}pool/(?:[A-Za-z0-9+~_:][A-Za-z0-9+~_:.-]{0,99}/){1,4}"
    rb"[A-Za-z0-9+~_:][A-Za-z0-9+~_:.-]{0,199}\.u?deb\0[0-9]{1,18}\0[0-9a-f]{64}"
)
"""The values of a paragraph about which nothing is to be said: most are such."""

_WORDS: Final = re.compile(3 * r"([!-~]{1,255})[ \t\r]*\n")


class ListedFile(msgspec.Struct, frozen=True, gc=False):
    """A file that a paragraph lists: its path below the archive's root, its size (bytes), its
    digests by algorithm. `number` is the paragraph's, from 1.
    """

    number: int
    path: str
    size: int
    digests: dict[str, str]
    package: str
    version: str = ""
    architecture: str = ""


class Paragraph(NamedTuple):
    """A paragraph with its number, as it stands."""

    number: int
    text: bytes


def paragraphs(pieces: Iterable[bytes]) -> Iterator[list[Paragraph]]:
    """Yield the paragraphs of each piece, in order, without the empty line at their ends. Raise
    `MetadataError` for one that does not end.
    """
    rest, number = b"", 0
    for piece in pieces:
        rest = (rest + piece).lstrip(b"\r\n")
        *texts, rest = _split(rest)
        if len(rest) > LONGEST:
            raise MetadataError(
                f"paragraph {number + len(texts) + 1} is longer than {LONGEST} bytes"
            )
        found = [Paragraph(at, text) for at, text in enumerate(texts, number + 1)]
        number += len(found)
        if found:
            yield found
    last = rest.strip(b"\r\n")
    if last:
        yield [Paragraph(number + 1, last)]


def packages(some: Sequence[Paragraph]) -> list[ListedFile]:
    """Return the files of paragraphs of `Packages`. Raise `MetadataError` with the number of one
    that cannot be understood.
    """
    return [_package(number, text) for number, text in some]


def sources(some: Sequence[Paragraph]) -> list[ListedFile]:
    """Return the files of paragraphs of `Sources`, several of each."""
    return [file for number, text in some for file in _source(number, text)]


def checksums(text: bytes) -> list[ListedFile]:
    """Return the files of a list as `sha256sum` writes it, by paths below its own folder."""
    found = []
    for number, line in enumerate(_text(1, text, "line").split("\n"), 1):
        if not line.strip():
            continue
        digest, _, path = line.partition(" ")
        path = plain_path(path.strip().removeprefix("*"))
        _check_path(number, path, "line")
        if not _SHA256.fullmatch(digest):
            raise MetadataError(f"line {number}: {digest[:200]!r} is no sha256 digest")
        found.append(ListedFile(number, path, -1, {"sha256": digest}, "", ""))
    return found


def _split(text: bytes) -> list[bytes]:
    """Return the paragraphs of a text, and what stands behind the last empty line."""
    parts = _END.split(text) if b"\r" in text else text.split(b"\n\n")
    rest = parts.pop().lstrip(b"\r\n")
    return [*(part for each in parts if (part := each.strip(b"\r\n"))), rest]


def _package(number: int, text: bytes) -> ListedFile:
    found = _PACKAGE.findall(b"\n" + text)
    return _plain_package(number, found) or _any_package(number, found)


def _plain_package(number: int, found: list[tuple[bytes, bytes]]) -> ListedFile | None:
    """Return what `_any_package` does, in a few steps, of fields in the usual order with values
    that are in order; `None` of others.
    """
    if tuple([name for name, _ in found]) != _ORDER:
        return None
    values = b"\0".join([value for _, value in found])
    if not _PLAIN.fullmatch(values):
        return None
    package, version, architecture, path, size, sha256 = values.decode().split("\0")
    return ListedFile(number, path, int(size), {"sha256": sha256}, package, version, architecture)


def _any_package(number: int, found: list[tuple[bytes, bytes]]) -> ListedFile:
    fields = _fields(number, found)
    try:
        path, size = fields["filename"].rstrip(), fields["size"].rstrip()
        words = f"{fields['package']}\n{fields['version']}\n{fields['architecture']}\n"
    except KeyError as error:
        raise _bad(number, f"it has no {error.args[0].capitalize()}") from None
    path = plain_path(path)
    _check_path(number, path)
    digests = _digests(number, fields)
    if not _SIZE.fullmatch(size):
        raise _bad(number, f"{size[:200]!r} is no size in bytes")
    told = _WORDS.fullmatch(words)
    if told is None:
        wrong = next(each for each in words.split("\n") if not _WORD.fullmatch(each.rstrip()))
        raise _bad(number, f"{wrong[:200]!r} is no name, version or architecture")
    package, version, architecture = told.groups()
    return ListedFile(number, path, int(size), digests, package, version, architecture)


def _source(number: int, text: bytes) -> Iterator[ListedFile]:
    fields = _fields(number, _SOURCE.findall(b"\n" + text))
    try:
        package, version = fields["package"].strip(), fields["version"].strip()
        if not (_WORD.fullmatch(package) and _WORD.fullmatch(version)):
            raise _bad(number, f"{package[:200]!r}, {version[:200]!r} is no name and version")
        folder = plain_path(f"{fields['directory'].strip().rstrip('/')}/").rstrip("/")
        lines = fields["checksums-sha256"].strip().split("\n")
    except KeyError as error:
        raise _bad(number, f"it has no {error.args[0].capitalize()}") from None
    for line in lines:
        parts = line.split()
        if len(parts) != 3 or not _SHA256.fullmatch(parts[0]) or not _SIZE.fullmatch(parts[1]):
            raise _bad(number, f"{line[:200]!r} is not 'sha256 size name'")
        digest, size, name = parts
        path = name if folder in {"", "."} else f"{folder}/{name}"
        if "/" in name:
            raise _bad(number, f"the name {name[:200]!r} is no name of a file")
        _check_path(number, path)
        is_dsc = name.endswith(".dsc")
        yield ListedFile(
            number, path, int(size), {"sha256": digest}, package, version if is_dsc else ""
        )


def _fields(number: int, found: list[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return fields by their names in lower case."""
    values = _text(number, b"\0".join([value for _, value in found])).split("\0")
    if len(values) != len(found) and found:
        raise _bad(number, "a field holds a NUL")
    fields = {name.lower().decode(): value for (name, _), value in zip(found, values, strict=False)}
    if len(fields) != len(found):
        raise _bad(number, "a field is there twice")
    return fields


def _digests(number: int, fields: dict[str, str]) -> dict[str, str]:
    digests: dict[str, str] = {}
    for name, form in _DIGESTS:
        if name in fields:
            digest = fields[name]
            if not form.fullmatch(digest):
                digest = digest.rstrip().lower()
                if not form.fullmatch(digest):
                    raise _bad(number, f"{digest[:200]!r} is no {name} digest")
            digests[name] = digest
    if not digests:
        raise _bad(number, "it has neither SHA256 nor SHA512")
    return digests


def _check_path(number: int, path: str, what: str = "paragraph") -> None:
    problem = problem_with_path(path)
    if problem is None and "\\" in path:
        problem = "contains a backslash"
    if problem is None and is_of_index(path):
        problem = "is that of an index"
    if problem is not None:
        raise _bad(number, f"the path {path[:200]!r} {problem}", what)


def is_of_index(path: str) -> bool:
    """Say whether a path is one at which only metadata may stand, also in an archive without
    `dists`.
    """
    return (
        path.startswith(("dists/", "by-hash/"))
        or path.rpartition("/")[2] in _METADATA
        or "/by-hash/" in path
    )


def _text(number: int, value: bytes, what: str = "paragraph") -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise _bad(number, f"it is not UTF-8: {value[:200]!r}", what) from None


def _bad(number: int, reason: str, what: str = "paragraph") -> MetadataError:
    return MetadataError(f"{what} {number}: {reason}")
