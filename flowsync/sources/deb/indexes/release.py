"""Reads `Release` and the text of `InRelease`: bytes in, a value out. No I/O.

The fields are those of https://wiki.debian.org/DebianRepository/Format; their names count in any
case. Each of the sections MD5Sum, SHA1, SHA256 and SHA512 lists digest, size and path of the
indexes of a suite. A path that a section lists twice, or two sections list with different sizes, is
an error: clients would read one or the other. What is listed need not exist.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

import msgspec

from flowsync import MetadataError, problem_with_path

LARGEST: Final = 16 << 20
"""Bytes of a `Release` at most."""

MOST: Final = 100_000
"""Indexes that a suite may list in a section."""

ALGORITHMS: Final = {"md5sum": "md5", "sha1": "sha1", "sha256": "sha256", "sha512": "sha512"}
"""The sections, in lower case, with the digests that they list."""

BY_HASH: Final = {"md5": "MD5Sum", "sha1": "SHA1", "sha256": "SHA256", "sha512": "SHA512"}
"""The folders of `by-hash`."""

_LENGTHS: Final = {"md5": 32, "sha1": 40, "sha256": 64, "sha512": 128}
_NAME: Final = re.compile(r"[!-9;-~]{1,200}")
_HEX: Final = re.compile(r"[0-9a-f]+")
_SIZE: Final = re.compile(r"[0-9]{1,18}")
_BEGIN: Final = b"-----BEGIN PGP SIGNED MESSAGE-----"
_SIGNATURE: Final = b"-----BEGIN PGP SIGNATURE-----"


class Listed(msgspec.Struct, frozen=True):
    """An index that a `Release` lists: its path below the suite, its size in bytes, and its digests
    in lower-case hexadecimal by algorithm.
    """

    path: str
    size: int
    digests: Mapping[str, str]


class Release(msgspec.Struct, frozen=True):
    """A suite as it is signed. `fields` are those without sections, by their names in lower case.

    `listed` has the indexes by path; those with a sha256 or a sha512 only, which are the digests
    that clients rely on.
    """

    fields: Mapping[str, str]
    listed: Mapping[str, Listed]
    algorithms: tuple[str, ...] = ()

    @property
    def suite(self) -> str:
        return self.fields.get("suite", "")

    @property
    def codename(self) -> str:
        return self.fields.get("codename", "")

    @property
    def by_hash(self) -> bool:
        """Whether indexes can be had by their digests."""
        return self.fields.get("acquire-by-hash", "").lower() == "yes"

    @property
    def architectures(self) -> tuple[str, ...]:
        return tuple(self.fields.get("architectures", "").split())

    @property
    def components(self) -> tuple[str, ...]:
        return tuple(self.fields.get("components", "").split())

    @property
    def signed_by(self) -> tuple[str, ...]:
        """The fingerprints of the keys that may sign the suite from now on, if it says so."""
        found = re.split(r"[\s,]+", self.fields.get("signed-by", ""))
        return tuple(each.upper().rstrip("!") for each in found if each)

    @property
    def date(self) -> datetime | None:
        """When the suite was signed. Raise `MetadataError` when it is no date."""
        return _moment("Date", self.fields.get("date"))

    @property
    def valid_until(self) -> datetime | None:
        """When the suite ends to be valid. Raise `MetadataError` when it is no date."""
        return _moment("Valid-Until", self.fields.get("valid-until"))


def read_release(text: bytes) -> Release:
    """Return what a `Release` says. Raise `MetadataError`, with the number of a line, for one that
    cannot be understood, and for one without strong digests.
    """
    if len(text) > LARGEST:
        raise MetadataError(f"it has more than {LARGEST} bytes")
    fields: dict[str, str] = {}
    sections: dict[str, dict[str, tuple[int, str]]] = {}
    for number, name, value, listed in _fields(text):
        if name in fields or name in sections:
            raise MetadataError(f"line {number}: the field {name!r} is there twice")
        if name in ALGORITHMS:
            sections[name] = _section(ALGORITHMS[name], listed)
        else:
            fields[name] = "\n".join([value, *(line.strip() for _, line in listed)]).strip()
    return _joined(fields, sections)


def cleartext(data: bytes) -> bytes:
    """Return the text of one that is signed in the clear, not verified. Raise `MetadataError` when
    it is none.
    """
    lines = data.replace(b"\r\n", b"\n").split(b"\n")
    try:
        first = lines.index(b"", lines.index(_BEGIN)) + 1
        last = lines.index(_SIGNATURE)
    except ValueError:
        raise MetadataError("it is no text that is signed in the clear") from None
    return b"\n".join(line.removeprefix(b"- ") for line in lines[first:last]) + b"\n"


def _fields(text: bytes) -> Iterator[tuple[int, str, str, list[tuple[int, str]]]]:
    """Yield number of line, name in lower case, value and further lines of each field."""
    try:
        lines = text.decode().split("\n")  # and at nothing else that Unicode has
    except UnicodeDecodeError as error:
        raise MetadataError(f"it is not UTF-8: {error.reason} at byte {error.start}") from None
    found: tuple[int, str, str, list[tuple[int, str]]] | None = None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        if line[0] in " \t":
            if found is None:
                raise MetadataError(f"line {number} goes on with a field, but none began")
            found[3].append((number, line))
            continue
        if found is not None:
            yield found
        name, colon, value = line.partition(":")
        if not colon or not _NAME.fullmatch(name):
            raise MetadataError(f"line {number} is no field: {line[:200]!r}")
        found = (number, name.lower(), value.strip(), [])
    if found is not None:
        yield found


def _section(algorithm: str, lines: list[tuple[int, str]]) -> dict[str, tuple[int, str]]:
    if len(lines) > MOST:
        raise MetadataError(f"it lists {len(lines)} indexes, allowed are {MOST}")
    found: dict[str, tuple[int, str]] = {}
    for number, line in lines:
        parts = line.split(None, 2)
        if len(parts) != 3:
            raise MetadataError(f"line {number} is not 'digest size path': {line[:200]!r}")
        digest, size, path = parts[0].lower(), parts[1], plain_path(parts[2].rstrip())
        if len(digest) != _LENGTHS[algorithm] or not _HEX.fullmatch(digest):
            raise MetadataError(f"line {number}: {digest[:200]!r} is no {algorithm} digest")
        if not _SIZE.fullmatch(size):
            raise MetadataError(f"line {number}: {size[:200]!r} is no size in bytes")
        problem = problem_with_path(path)
        if problem is not None or "\\" in path:
            problem = problem or "contains a backslash"
            raise MetadataError(f"line {number}: the path {path[:200]!r} {problem}")
        if found.setdefault(path, (int(size), digest)) != (int(size), digest):
            raise MetadataError(f"line {number}: {path[:200]!r} is listed twice, differently")
    return found


def _joined(fields: dict[str, str], sections: dict[str, dict[str, tuple[int, str]]]) -> Release:
    algorithms = tuple(ALGORITHMS[name] for name in ALGORITHMS if sections.get(name))
    if not {"sha256", "sha512"} & set(algorithms):
        if not algorithms and not {"origin", "suite", "codename", "date", "label"} & fields.keys():
            raise MetadataError("it is no Release: it has none of a Release's fields")
        if algorithms:
            raise MetadataError(
                f"it lists indexes with {', '.join(algorithms)} only, which prove nothing; "
                "SHA256 or SHA512 is needed"
            )
    listed: dict[str, Listed] = {}
    for name in ("sha256", "sha512"):
        for path in sections.get(name, ()):
            if path not in listed:
                listed[path] = _listed(path, sections)
    return Release(fields, listed, algorithms)


def _listed(path: str, sections: dict[str, dict[str, tuple[int, str]]]) -> Listed:
    digests: dict[str, str] = {}
    sizes: set[int] = set()
    for name, algorithm in ALGORITHMS.items():
        entry = sections.get(name, {}).get(path)
        if entry is not None:
            sizes.add(entry[0])
            digests[algorithm] = entry[1]
    if len(sizes) > 1:
        raise MetadataError(f"{path!r} is listed with the sizes {sorted(sizes)}")
    return Listed(path, sizes.pop(), digests)


def plain_path(path: str) -> str:
    """Return a path without `.` segments, which mean nothing."""
    if "./" not in path:
        return path
    return "/".join(segment for segment in path.split("/") if segment != ".")


def _moment(name: str, text: str | None) -> datetime | None:
    if not text:
        return None
    try:
        found = parsedate_to_datetime(text)
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (TypeError, ValueError, OverflowError, IndexError):
        raise MetadataError(f"{name} is no date: {text[:200]!r}") from None
