"""Reads the page of a project, JSON or HTML: bytes in, structs out. Pure.

1. The content type decides how a page is read. Versions of the format count by their first number.
2. What makes a page doubtful as a whole raises `MetadataError`: another format, another project, a
   number where text belongs, two digests of one file.
3. An entry that must not be used (its name, URL, digest or a text) is left out, with the reason.
4. Texts of upstream are kept as they are: dates, reasons, what a file says it requires.
"""

import re
from typing import Annotated, Any, Final

import msgspec

from flowsync import MetadataError, redact
from flowsync.selection import Refusal
from flowsync.sources.pypi.pages.filenames import FilenameError, read_filename
from flowsync.sources.pypi.pages.html_page import HtmlError, Tag, decode, read_tags
from flowsync.sources.pypi.pages.links import LinkError, Links, last_segment
from flowsync.sources.pypi.pages.names import normalized, problem_with_version

JSON_TYPE: Final = "application/vnd.pypi.simple.v1+json"
HTML_TYPE: Final = "application/vnd.pypi.simple.v1+html"
ACCEPT: Final = f"{JSON_TYPE}, {HTML_TYPE};q=0.2, text/html;q=0.01"
"""What a request for a page or the list accepts."""

LARGEST_PAGE: Final = 64 << 20
LARGEST_HTML: Final = 16 << 20
MOST_FILES: Final = 200_000
MOST_VERSIONS: Final = 100_000
LONGEST_TEXT: Final = 4096

DIGESTS: Final = {"sha256": 64, "sha512": 128, "sha384": 96}
"""The digests that are believed, with their hexadecimal digits."""


class PageFile(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A file of a page. `url` is absolute where a page was read, relative where one is made.

    `version`, `kind` and `tags` are what its name says. `yanked` is the reason, which may be empty,
    of a file that is. `metadata` is the sha256 of the metadata beside it, empty when only its
    presence is known; `provenance` is the URL of its attestations.
    """

    filename: str
    url: str
    version: str
    kind: str = ""
    tags: str = ""
    sha256: str | None = None
    sha512: str | None = None
    sha384: str | None = None
    size: int | None = None
    requires_python: str | None = None
    upload_time: str | None = None
    yanked: str | None = None
    metadata: str | None = None
    provenance: str | None = None


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """A project's page: its name as upstream spells it, its versions where the page lists them, and
    its files. `refused` are the entries that were left out; their rules are filename, project,
    version, url, digest and text.
    """

    name: str
    versions: tuple[str, ...] | None = None
    status: str | None = None
    reason: str | None = None
    alternate_locations: tuple[str, ...] = ()
    tracks: tuple[str, ...] = ()
    serial: int | None = None
    files: tuple[PageFile, ...] = ()
    refused: tuple[Refusal, ...] = ()
    url: str = ""


_Metadata = bool | dict[str, Any] | None | msgspec.UnsetType
_Size = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]


class _File(msgspec.Struct, rename="kebab", gc=False):
    filename: str
    url: str
    hashes: dict[str, Any] = {}
    requires_python: str | None = None
    size: _Size | None = None
    upload_time: str | None = None
    yanked: bool | str | None = None
    core_metadata: _Metadata = msgspec.UNSET
    dist_info_metadata: _Metadata = msgspec.UNSET
    data_dist_info_metadata: _Metadata = msgspec.UNSET
    provenance: str | None = None


class _Meta(msgspec.Struct):
    version: str = msgspec.field(name="api-version")
    serial: Any = msgspec.field(name="_last-serial", default=None)
    tracks: list[str] | None = None


class _Status(msgspec.Struct):
    status: str | None = None
    reason: str | None = None


class _Project(msgspec.Struct, rename="kebab"):
    meta: _Meta
    files: list[_File]
    name: str | None = None
    versions: list[str] | None = None
    alternate_locations: list[str] | None = None
    project_status: _Status | str | None = None


_DECODER: Final = msgspec.json.Decoder(_Project)
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_HEX: Final = re.compile(r"[0-9a-f]+")


def read_page(body: bytes, content_type: str, url: str, project: str) -> Page:
    """Return the page of `project`, whose name is normalized, that came from `url`.

    Raise `MetadataError` when it cannot be understood or must not be believed.
    """
    try:
        if media_type(content_type) == JSON_TYPE:
            return _Reading(url, project).json(body)
        return _Reading(url, project).html(body, charset(content_type))
    except (UnusableError, HtmlError, LinkError) as error:
        raise MetadataError(f"{redact(url)}: page of project {project!r}: {error}") from None


class UnusableError(ValueError):
    """A page or list is of no use, or must not be believed."""


class _Reading:
    """The page that is being read."""

    def __init__(self, url: str, project: str) -> None:
        self.url = url
        self.project = project
        self.links = Links(url)
        self.files: dict[str, PageFile] = {}
        self.refused: list[Refusal] = []

    def json(self, body: bytes) -> Page:
        """Read a page of JSON."""
        _check_size(body, LARGEST_PAGE)
        try:
            page = _DECODER.decode(body)
        except RecursionError:
            raise UnusableError("it is nested too deep") from None
        except (msgspec.DecodeError, UnicodeError) as error:
            raise UnusableError(f"it is no JSON of an index: {error}") from None
        check_version(page.meta.version)
        if page.name is not None and normalized(page.name) != self.project:
            raise UnusableError(f"it is that of project {shown(page.name)}")
        _check_number(len(page.files), MOST_FILES, "files")
        for file in page.files:
            self._add(
                file.filename,
                file.url,
                file.hashes,
                size=file.size,
                requires_python=file.requires_python or None,
                upload_time=file.upload_time or None,
                yanked=_yanked(file.yanked),
                metadata=_metadata_of(file),
                provenance=file.provenance,
            )
        status = page.project_status
        if isinstance(status, str):
            status = _Status(status)
        return self._page(
            page.name or self.project,
            versions=_versions(page.versions),
            status=status and status.status,
            reason=status and status.reason,
            alternate_locations=self._usable(page.alternate_locations or ()),
            tracks=self._usable(page.meta.tracks or ()),
            serial=read_serial(page.meta.serial),
        )

    def html(self, body: bytes, encoding: str) -> Page:
        """Read a page of HTML."""
        _check_size(body, LARGEST_HTML)
        metas: dict[str, list[str]] = {}
        base: str | None = None
        anchors: list[Tag] = []
        for number, tag in enumerate(read_tags(decode(body, encoding)), 1):
            _check_number(number, MOST_FILES, "links")
            if tag.name == "a":
                anchors.append(tag)
            elif tag.name == "meta" and "name" in tag.attributes:
                name = tag.attributes["name"].lower()
                metas.setdefault(name, []).append(tag.attributes.get("content", ""))
            elif tag.name == "base" and base is None:
                base = tag.attributes.get("href")
        for version in metas.get("pypi:repository-version", ()):
            check_version(version)
        self.links = Links(self.url, base)
        for tag in anchors:
            self._add_anchor(tag.attributes)
        return self._page(
            self.project,
            versions=None,
            status=_first(metas, "pypi:project-status"),
            reason=_first(metas, "pypi:project-status-reason"),
            alternate_locations=self._usable(metas.get("pypi:alternate-locations", ())),
            tracks=self._usable(metas.get("pypi:tracks", ())),
            serial=None,
        )

    def _add_anchor(self, attributes: dict[str, str]) -> None:
        link = attributes.get("href")
        if link is None:
            return
        target, _, fragment = link.strip().partition("#")
        hashes: dict[str, Any] = {}
        for part in fragment.split("&") if fragment else ():
            name, equals, value = part.partition("=")
            if equals:
                hashes.setdefault(name.lower(), value)
        metadata = attributes.get("data-core-metadata")
        if metadata is None:
            metadata = attributes.get("data-dist-info-metadata")
        self._add(
            last_segment(target),
            target,
            hashes,
            size=None,
            requires_python=attributes.get("data-requires-python") or None,
            upload_time=None,
            yanked=attributes.get("data-yanked"),
            metadata=_metadata_of_attribute(metadata),
            provenance=attributes.get("data-provenance"),
        )

    def _add(
        self,
        filename: str,
        link: str,
        hashes: dict[str, Any],
        *,
        size: int | None,
        requires_python: str | None,
        upload_time: str | None,
        yanked: str | None,
        metadata: str | None,
        provenance: str | None,
    ) -> None:
        """Add a file, or say why it is left out."""
        try:
            name = read_filename(filename, self.project)
        except FilenameError as error:
            self._refuse(filename, error.rule, str(error))
            return
        digests = self._digests(filename, hashes)
        if digests is None:
            return
        try:
            url = self.links.resolve(link)
        except LinkError as error:
            self._refuse(filename, "url", str(error))
            return
        for text in (requires_python, upload_time, yanked):
            if text is not None and (problem := _problem_with_text(text)) is not None:
                self._refuse(filename, "text", f"a text of it {problem}")
                return
        file = PageFile(
            filename=filename,
            url=url,
            version=name.version,
            kind=name.kind,
            tags=name.tags,
            size=size,
            requires_python=requires_python,
            upload_time=upload_time,
            yanked=yanked,
            metadata=metadata,
            provenance=self._provenance(provenance),
            **digests,
        )
        before = self.files.setdefault(filename, file)
        if before is not file:
            self._see_again(before, file)

    def _see_again(self, before: PageFile, file: PageFile) -> None:
        """Of a file that is listed twice the first entry counts, or the one that has a digest."""
        known = False
        for name in DIGESTS:
            first, second = getattr(before, name), getattr(file, name)
            known = known or first is not None
            if first is not None and second is not None and first != second:
                raise UnusableError(
                    f"it lists {file.filename!r} twice, with different digests: "
                    f"{name} {first} and {second}"
                )
        if not known:
            self.files[file.filename] = file

    def _digests(self, filename: str, hashes: dict[str, Any]) -> dict[str, str] | None:
        found = {}
        for name, value in hashes.items():
            digits = DIGESTS.get(name)
            if digits is None or value is None:
                continue
            digest = _digest(value, digits)
            if digest is None:
                self._refuse(filename, "digest", f"its {name} is none: {shown(value)}")
                return None
            found[name] = digest
        return found

    def _provenance(self, link: str | None) -> str | None:
        if not link:
            return None
        try:
            return self.links.resolve(link)
        except LinkError:
            return None

    def _usable(self, links: Any) -> tuple[str, ...]:
        """Return the addresses of projects elsewhere, which are passed on but not followed."""
        return tuple(dict.fromkeys(url for url in map(self._provenance, links) if url is not None))

    def _refuse(self, filename: str, rule: str, reason: str) -> None:
        self.refused.append(Refusal(shown(filename)[1:-1], rule, reason))

    def _page(self, name: str, **known: Any) -> Page:
        for text in (known["status"], known["reason"]):
            if text is not None and (problem := _problem_with_text(text)) is not None:
                raise UnusableError(f"the status of the project {problem}")
        return Page(
            name=name,
            files=tuple(self.files.values()),
            refused=tuple(self.refused),
            url=self.url,
            **known,
        )


def media_type(content_type: str) -> str:
    """Return the type of a page or list that can be read, `JSON_TYPE` or `HTML_TYPE`. Raise
    `UnusableError` for any other.
    """
    found = content_type.partition(";")[0].strip().lower()
    if found in {HTML_TYPE, "text/html"}:
        return HTML_TYPE
    if found == JSON_TYPE:
        return JSON_TYPE
    if found.startswith("application/vnd.pypi.simple.v"):
        raise UnusableError(f"its format is {shown(found)}; version 1 is read")
    raise UnusableError(
        f"its content type is {shown(found)}, not that of an index ({JSON_TYPE}, {HTML_TYPE} or "
        "text/html); check that the URL is the address of one"
    )


def charset(content_type: str) -> str:
    """Return the charset that a content type names, empty without one."""
    for parameter in content_type.split(";")[1:]:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            return value.strip().strip('"')
    return ""


def check_version(version: str) -> None:
    """Raise `UnusableError` when the version of the format is not 1 or 1.N."""
    major, _, minor = version.strip().partition(".")
    if major != "1" or (minor and not minor.isdigit()):
        raise UnusableError(f"its format has version {shown(version)}; 1 and 1.N are read")


def read_serial(value: object) -> int | None:
    """Return the serial that is a number or, as of some indexes, its text; otherwise `None`."""
    if isinstance(value, str) and 0 < len(value) < 19 and value.isascii() and value.isdigit():
        return int(value)
    whole = isinstance(value, int) and not isinstance(value, bool)
    return value if whole and 0 <= value < 1 << 63 else None  # type: ignore[operator,return-value]


def _yanked(value: bool | str | None) -> str | None:
    if isinstance(value, str):
        return value
    return "" if value else None


def _metadata_of(file: _File) -> str | None:
    """Return what the first key that is there says of the file's metadata."""
    for value in (file.core_metadata, file.dist_info_metadata, file.data_dist_info_metadata):
        if value is not msgspec.UNSET:
            break
    else:
        return None
    if isinstance(value, dict):
        return _digest(value.get("sha256"), DIGESTS["sha256"]) or ""
    return "" if value else None


def _metadata_of_attribute(value: str | None) -> str | None:
    if value is None or value.strip().lower() == "false":
        return None
    name, _, digest = value.partition("=")
    return (_digest(digest, DIGESTS["sha256"]) or "") if name.strip() == "sha256" else ""


def _digest(value: object, digits: int) -> str | None:
    if not isinstance(value, str) or len(value) != digits:
        return None
    digest = value.lower()
    return digest if _HEX.fullmatch(digest) else None


def _versions(listed: list[str] | None) -> tuple[str, ...] | None:
    if listed is None:
        return None
    _check_number(len(listed), MOST_VERSIONS, "versions")
    return tuple(version for version in listed if problem_with_version(version) is None)


def _problem_with_text(text: str) -> str | None:
    if len(text) > LONGEST_TEXT:
        return f"has more than {LONGEST_TEXT} characters"
    return "holds control characters" if _CONTROLS.search(text) else None


def _first(metas: dict[str, list[str]], name: str) -> str | None:
    return next(iter(metas.get(name, ())), None)


def _check_size(body: bytes, most: int) -> None:
    if len(body) > most:
        raise UnusableError(f"it has {len(body)} bytes, more than {most}")


def _check_number(found: int, most: int, what: str) -> None:
    if found > most:
        raise UnusableError(f"it has more than {most} {what}")


def shown(value: object) -> str:
    """Return what upstream says as errors show it: escaped, of a long text the beginning."""
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:198]}…{text[:1]}"
