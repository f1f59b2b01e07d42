"""Makes the indexes of a mirror that keeps some of upstream's packages: `Packages`, `Release`, and
their signatures. Blocks the caller, so it belongs in a thread; memory is that of a paragraph.

1. Paragraphs that are kept stay as they are, byte for byte and in upstream's order.
2. The same paragraphs make the same files each time, so that a plan and its sync agree.
3. `Release` says what upstream's says of origin and pinning. What it says of files is what is here,
   with sha256 only. Like upstream's, it lists the unpacked form of an index, which is not served:
   clients learn from it how much they unpack.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from flowsync.packages.openpgp import SigningKey
from flowsync.packages.unpacking import Packing, pack
from flowsync.sources.deb.indexes.paragraphs import Paragraph

PACKINGS: Final[tuple[Packing, ...]] = (".xz", ".gz")
"""How an index is packed: what apt takes first, and what any client takes."""

_PIECE: Final = 256 * 1024

_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = (
    *("Jan", "Feb", "Mar", "Apr", "May", "Jun"),
    *("Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
)

_KEPT: Final = (
    "Origin",
    "Label",
    "Suite",
    "Version",
    "Codename",
    "Changelogs",
    "NotAutomatic",
    "ButAutomaticUpgrades",
    "No-Support-for-Architecture-all",
    "Description",
)


class RenderedFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file that `Release` lists: its path below the suite, size and digest, and where it lies;
    without that, it is listed and not served.
    """

    path: str
    size: int
    sha256: str
    file: str | None = None


class RenderedRelease(msgspec.Struct, frozen=True, kw_only=True):
    """`Release` in its three forms, and what tells it from others: the digest of its text and the
    fingerprint of its signer. Without a key it is not signed.
    """

    text: bytes
    in_release: bytes | None = None
    signature: bytes | None = None
    signer: str = ""

    @property
    def text_sha256(self) -> str:
        return hashlib.sha256(self.text).hexdigest()


def render_index(
    kept: Iterable[Paragraph],
    path: str,
    folder: str,
    *,
    packings: Sequence[Packing] = PACKINGS,
) -> list[RenderedFile]:
    """Write an index of these paragraphs into a folder. `path` is that of the index below the
    suite, without the end that tells a packing.

    Return its files, the unpacked form first. Names of files in the folder say nothing of the path.
    """
    name = os.path.join(folder, hashlib.sha256(path.encode()).hexdigest()[:32])
    plain = _write(name, _pieces(kept), path)
    try:
        packed = [
            _write(f"{name}{packing}", pack(_read(name), packing), f"{path}{packing}")
            for packing in packings
        ]
    finally:
        os.unlink(name)
    return [RenderedFile(path=path, size=plain.size, sha256=plain.sha256), *packed]


def render_release(
    upstream: Mapping[str, str],
    files: Iterable[RenderedFile],
    *,
    components: Sequence[str],
    architectures: Sequence[str],
    date: datetime,
    valid_for: timedelta | None = None,
) -> bytes:
    """Return the text of `Release`.

    `upstream` are the fields of upstream's by their names in lower case; components and
    architectures are those that are here, none for a suite without.
    """
    fields = {name: _one_line(upstream.get(name.lower(), "")) for name in _KEPT}
    fields["Date"] = _in_words(date)
    if valid_for is not None:
        fields["Valid-Until"] = _in_words(date + valid_for)
    fields["Acquire-By-Hash"] = "yes"
    fields["Architectures"] = " ".join(architectures)
    fields["Components"] = " ".join(components)
    lines = [f"{name}: {value}" for name, value in fields.items() if value]
    lines.append("SHA256:")
    listed = sorted(files, key=lambda file: file.path)
    lines += [f" {file.sha256} {file.size:>8} {file.path}" for file in listed]
    return ("\n".join(lines) + "\n").encode(errors="surrogateescape")


def sign_release(text: bytes, key: SigningKey | None) -> RenderedRelease:
    """Return a `Release` in its forms, signed with the key if there is one."""
    if key is None:
        return RenderedRelease(text=text)
    return RenderedRelease(
        text=text,
        in_release=key.sign_clear(text),
        signature=key.sign_detached(text),
        signer=key.fingerprint,
    )


def release_date(
    upstream: datetime,
    before: datetime | None,
    *,
    now: datetime,
    valid_for: timedelta | None = None,
) -> datetime:
    """Return the date of a `Release`: that of upstream's newest, which a plan and its sync have in
    common, but never one before that of the mirror's last, which clients would not follow.

    Where that would be valid for less than half of the time, it is the full hour, or `now` if the
    hour is not enough.
    """
    date = upstream if before is None else max(upstream, before)
    if valid_for is None or now < date + valid_for / 2:
        return date
    hour = now.replace(minute=0, second=0, microsecond=0)
    return hour if hour > date and now < hour + valid_for / 2 else now.replace(microsecond=0)


def _pieces(paragraphs: Iterable[Paragraph]) -> Iterator[bytes]:
    """Yield paragraphs in pieces, each with the blank line at its end."""
    waiting: list[bytes] = []
    size = 0
    for paragraph in paragraphs:
        waiting += (paragraph.text, b"\n\n")
        size += len(paragraph.text) + 2
        if size >= _PIECE:
            yield b"".join(waiting)
            waiting.clear()
            size = 0
    yield b"".join(waiting)


def _write(name: str, pieces: Iterable[bytes], path: str) -> RenderedFile:
    digest, size = hashlib.sha256(), 0
    with open(name, "wb") as file:
        for piece in pieces:
            digest.update(piece)
            size += file.write(piece)
    return RenderedFile(path=path, size=size, sha256=digest.hexdigest(), file=name)


def _read(name: str) -> Iterator[bytes]:
    with open(name, "rb", buffering=0) as file:
        while piece := file.read(_PIECE):
            yield piece


def _one_line(value: str) -> str:
    """Return the value of a field without the line ends that it may hold."""
    return " ".join(value.split())


def _in_words(moment: datetime) -> str:
    """Return a moment as `Release` has it, in English everywhere."""
    at = moment.astimezone(UTC)
    day, month = _DAYS[at.weekday()], _MONTHS[at.month - 1]
    return f"{day}, {at.day:02} {month} {at:%Y %H:%M:%S} UTC"
