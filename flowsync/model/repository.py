"""Repositories and their versions, as values. Reading and changing them is the catalog's work.

Also here: when an entity tag proves that a body is the same.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final, Literal

import msgspec

from flowsync.errors import DeclarationError
from flowsync.model.measures import problem_with_count
from flowsync.model.recordable import problem_with_text

LONGEST_NAME: Final = 255
"""Bytes of the name of a new repository."""

MOUNTABLE: Final = frozenset({"v2"})
"""First segments of addresses that kinds of source may have for a grammar of their own: the
registry of images.
"""

_RESERVED: Final = frozenset({"-", *MOUNTABLE})
"""First segments of addresses that no repository can have. `-` is for the server's own pages."""

_VERSION_OF_ANOTHER: Final = re.compile(r".*\.v[0-9]+", re.ASCII | re.DOTALL)
"""How clients of a registry write version 3 of `NAME`: `NAME.v3`."""

HIDDEN: Final = "acs:"
"""How the names of repositories begin that hold what alternate sources list. They are found by
name, and not listed.
"""

ChangeKind = Literal["added", "removed", "changed"]
"""What happened to a path between two versions."""

LeftOutAction = Literal["skipped", "deferred"]

ErrorPolicy = Literal["fail", "skip", "defer"]
"""What a download that failed for good means: the sync fails, goes on without the unit, or goes on
with the unit but without its bytes.
"""

RunState = Literal["running", "completed", "skipped", "failed", "canceled", "lost"]
"""How far a run came; `skipped` found upstream unchanged, the process of a `lost` one is gone."""


class Repository(msgspec.Struct, kw_only=True, frozen=True):
    """A named line of versions. It exists in the catalog from its first use on, with an empty
    version 0.

    `allowed_types` names the content types a version may hold; `None` allows all. `retain_versions`
    (at least 1) is how many versions are kept, the newest ones and besides them those that are
    protected; `None` keeps all.
    """

    name: str
    allowed_types: frozenset[str] | None = None
    retain_versions: int | None = None

    def check_new(self) -> None:
        """Raise `DeclarationError` when a repository of the name could not be addressed where it is
        served.
        """
        if self.name.startswith(HIDDEN):
            # Made by flowsync, and never served.
            return
        if self.name in _RESERVED or _VERSION_OF_ANOTHER.fullmatch(self.name):
            raise DeclarationError(
                f"a repository cannot be made with the name {self.name!r}: served, that would be "
                "the address of something else"
            )
        if len(self.name.encode()) > LONGEST_NAME:
            raise DeclarationError(
                f"a repository's name has at most {LONGEST_NAME} bytes, found "
                f"{len(self.name.encode())}"
            )

    def __post_init__(self) -> None:
        for allowed in self.allowed_types or ():
            problem = problem_with_text(allowed)
            if problem is not None:
                raise DeclarationError(
                    f"repository {self.name!r}: the allowed type {allowed!r} {problem}"
                )
        # No white space but the blank counts as printable.
        name: object = self.name
        forbidden = not isinstance(name, str) or not name.isprintable()
        forbidden = forbidden or any(sign in self.name for sign in "/@ ")
        if forbidden or self.name in {"", ".", ".."}:
            raise DeclarationError(
                "a repository's name must be non-empty, without '/', '@', white space and control "
                f"characters, and not '.' or '..', found {self.name!r}"
            )
        retain = self.retain_versions
        problem = None if retain is None else problem_with_count(retain, 1, 2**31 - 1)
        if problem is not None:
            raise DeclarationError(f"repository {self.name!r}: retain_versions {problem}")


class RepositoryVersion(msgspec.Struct, kw_only=True, frozen=True):
    """A complete, immutable version. The counts are units: those it added to and removed from its
    predecessor, and those present.

    `root` is a digest of the set of units, in hexadecimal: versions that hold the same units have
    the same root, whatever repository, database or machine they are of. `protected` ones are not
    deleted.
    """

    repository: str
    number: int
    created: datetime
    added: int
    removed: int
    present: int
    info: dict[str, Any] = {}
    protected: bool = False
    root: str


class VersionEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One path of a version. `size` is bytes, `blake3` and `size` are `None` while unknown;
    `stored` says that the bytes are here.
    """

    content_id: bytes
    type: str
    relative_path: str
    sha256: str | None
    blake3: str | None
    size: int | None
    stored: bool


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One path at which two versions differ: only the later has it (`added`), only the earlier
    (`removed`), or both with other units (`changed`).
    """

    kind: ChangeKind
    relative_path: str
    before: VersionEntry | None
    after: VersionEntry | None


class BareUnit(msgspec.Struct, frozen=True, kw_only=True):
    """A unit of a version that has no artifacts, and so no path: its fields are all there
    is of it.
    """

    content_id: bytes
    type: str
    fields: dict[str, Any]


class UnitFields(msgspec.Struct, frozen=True, kw_only=True):
    """What was declared of a unit beside its files: its fields by name, as they are recorded."""

    content_id: bytes
    type: str
    fields: dict[str, Any]


class BareChange(msgspec.Struct, frozen=True, kw_only=True):
    """A unit without artifacts that only the later of two versions has (`added`), or only the
    earlier (`removed`).
    """

    kind: Literal["added", "removed"]
    unit: BareUnit


class LeftOut(msgspec.Struct, kw_only=True, frozen=True):
    """An artifact whose download failed in a sync that went on: its unit was skipped, or is
    deferred until it is asked for.

    `url` is the first of its sources, redacted; `reason` is the failure's text.
    """

    relative_path: str
    url: str
    reason: str
    action: LeftOutAction


class SyncResult(msgspec.Struct, kw_only=True, frozen=True):
    """What one sync did. `version` is `None` when nothing changed; `present` counts the units of
    the newest version.

    `downloaded` counts artifacts and `bytes` their bytes; `skipped` says that upstream was found
    unchanged by its metadata alone; `left_out` lists what could not be had although the sync went
    on. `seconds` is how long it took from its turn on.
    """

    repository: str
    version: int | None = None
    added: int = 0
    removed: int = 0
    present: int = 0
    downloaded: int = 0
    bytes: int = 0
    skipped: bool = False
    left_out: tuple[LeftOut, ...] = ()
    seconds: float = 0.0
    error: str | None = None


# When an entity tag proves that a body is still the same. Pure.
#
# 1. Only a strong tag stands for bytes. A weak one (`W/"…"`) says that another body would do as
#    well, and a date says nothing: a body may be replaced by one with the same date, or an older
#    one.
# 2. Most servers make tags of files out of date and size. Such a tag is taken at its word, but not
#    while the body is young: it might change again within the second that the tag tells apart. Then
#    the answer's own `Date` is less than two seconds behind `Last-Modified`. Tags of 32 hexadecimal
#    digits or more are taken for digests, which age does not matter to.
# 3. An answer "not modified" counts only for the tag that was asked for. Servers may compare tags
#    weakly, and then name the one that they mean.

YOUNG: Final = 2.0
"""Seconds in which the date of a body may hide a further change."""

_STRONG: Final = re.compile(r'"[\x21\x23-\x7e]*"')
_DIGEST: Final = re.compile(r'"[0-9a-fA-F]{32,}"')


def is_strong(tag: str | None) -> bool:
    """Say whether an entity tag is one, in ASCII, and strong."""
    return tag is not None and _STRONG.fullmatch(tag) is not None


def proving_tag(tag: str | None, headers: Mapping[str, str]) -> str | None:
    """Return the entity tag of an answer if it will prove that the body is the same; `headers` are
    the answer's, in lower case.
    """
    if tag is None or not is_strong(tag):
        return None
    return tag if _DIGEST.fullmatch(tag) or not _is_young(headers) else None


def _is_young(headers: Mapping[str, str]) -> bool:
    modified = headers.get("last-modified")
    if modified is None:
        return False
    changed, now = _moment(modified), _moment(headers.get("date", ""))
    return changed is None or now is None or (now - changed).total_seconds() < YOUNG


def _moment(text: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(text)
    except (ValueError, OverflowError, TypeError, IndexError):
        return None
    return found if found.tzinfo is not None else None
