"""Reads the list of an index, JSON or HTML: bytes in, names with their serials out. Pure.

Lists have hundreds of thousands of names, so nothing is made of an entry but its name and serial.
"""

from typing import Any, Final

import msgspec

from flowsync import MetadataError, redact
from flowsync.selection import Refusal
from flowsync.sources.pypi.pages.html_page import HtmlError, decode, read_tags, text_behind
from flowsync.sources.pypi.pages.names import problem_with_name, project_name
from flowsync.sources.pypi.pages.page import (
    JSON_TYPE,
    UnusableError,
    charset,
    check_version,
    media_type,
    read_serial,
    shown,
)

LARGEST_LIST: Final = 256 << 20
MOST_REFUSED: Final = 100
"""Refused names that are told; the others are counted."""


class ProjectList(msgspec.Struct, frozen=True, kw_only=True):
    """The projects of an index: their normalized names, in order and each once, with the serial of
    the project where the list tells it, and the serial of the list. Of the names that cannot be
    used some are in `refused`, all in `refused_total`.
    """

    serial: int | None
    projects: tuple[tuple[str, int | None], ...]
    refused: tuple[Refusal, ...] = ()
    refused_total: int = 0


class _Entry(msgspec.Struct, gc=False):
    name: str
    serial: Any = msgspec.field(name="_last-serial", default=None)


class _Meta(msgspec.Struct):
    version: str = msgspec.field(name="api-version")
    serial: Any = msgspec.field(name="_last-serial", default=None)


class _List(msgspec.Struct):
    meta: _Meta
    projects: list[_Entry]


_DECODER: Final = msgspec.json.Decoder(_List)


def read_project_list(body: bytes, content_type: str, url: str) -> ProjectList:
    """Return the list that came from `url`. Raise `MetadataError` when it cannot be understood."""
    try:
        if len(body) > LARGEST_LIST:
            raise UnusableError(f"it has {len(body)} bytes, more than {LARGEST_LIST}")
        if media_type(content_type) == JSON_TYPE:
            return _of_json(body)
        return _of_html(decode(body, charset(content_type)))
    except (UnusableError, HtmlError) as error:
        raise MetadataError(f"{redact(url)}: list of projects: {error}") from None


def _of_json(body: bytes) -> ProjectList:
    try:
        listed = _DECODER.decode(body)
    except RecursionError:
        raise UnusableError("it is nested too deep") from None
    except (msgspec.DecodeError, UnicodeError) as error:
        raise UnusableError(f"it is no JSON of an index: {error}") from None
    check_version(listed.meta.version)
    names = _Names()
    found, refuse = names.found, names.refuse
    for entry in listed.projects:
        name, serial = project_name(entry.name), entry.serial
        if name is None:
            refuse(entry.name)
        else:
            # Nearly all are numbers or missing; asking for the type is quicker than a call.
            plain = serial is None or (type(serial) is int and 0 <= serial < 1 << 63)
            found[name] = serial if plain else read_serial(serial)
    return names.listed(read_serial(listed.meta.serial))


def _of_html(text: str) -> ProjectList:
    names = _Names()
    for tag in read_tags(text):
        if tag.name == "a" and "href" in tag.attributes:
            spelled = text_behind(text, tag)
            name = project_name(spelled)
            if name is None:
                names.refuse(spelled)
            else:
                names.found[name] = None
        elif tag.name == "meta" and tag.attributes.get("name") == "pypi:repository-version":
            check_version(tag.attributes.get("content", ""))
    return names.listed(None)


class _Names:
    """The names that were read."""

    def __init__(self) -> None:
        self.found: dict[str, int | None] = {}
        self.refused: list[Refusal] = []
        self.refused_total = 0

    def refuse(self, name: str) -> None:
        """Leave a name out."""
        self.refused_total += 1
        if len(self.refused) < MOST_REFUSED:
            reason = f"the name {problem_with_name(name)}"
            self.refused.append(Refusal(shown(name)[1:-1], "name", reason))

    def listed(self, serial: int | None) -> ProjectList:
        """Return them in order."""
        return ProjectList(
            serial=serial,
            projects=tuple(sorted(self.found.items())),
            refused=tuple(self.refused),
            refused_total=self.refused_total,
        )
