"""Asks an index: for its serial, its list, and the pages of projects. Only answers of the index
itself count, wherever it redirects.
"""

import asyncio
from typing import Any, Final, Protocol

import msgspec

from flowsync import Fetched, MetadataError, Remote, Validators, redact
from flowsync.errors import (
    IntegrityError,
    OversizedBodyError,
    RedirectError,
    StatusError,
    UnsupportedUrlError,
)
from flowsync.sources.pypi.pages.page import (
    ACCEPT,
    LARGEST_PAGE,
    Page,
    read_page,
    read_serial,
)
from flowsync.sources.pypi.pages.project_list import LARGEST_LIST, ProjectList, read_project_list
from flowsync.sources.pypi.selection import Selected, Selection

SERIALS: Final = ("x-pypi-last-serial", "x-devpi-serial")
"""Headers that tell the serial of an index."""

GONE: Final = frozenset({404, 410})

LARGEST_BESIDE: Final = 4 << 20

_ANOTHER_TIME: Final = frozenset({408, 425, 429})
"""What answers say that a later request may have."""

_NO_HEAD: Final = frozenset({403, 404, 405, 501})


class Run(Protocol):
    """What this needs of a run: the folder for what it fetches."""

    @property
    def staging(self) -> str: ...


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """The page of a project, and what is taken of it. `beside` are the files that have no digest
    upstream, by the name of their file and what is added to it.
    """

    name: str
    fetched: Fetched
    page: Page
    selected: Selected
    beside: dict[str, dict[str, Fetched]] = {}

    @property
    def serial(self) -> int | None:
        """The serial of the page, `None` where the index tells none."""
        return serial_of(self.fetched) if self.page.serial is None else self.page.serial


class Index:
    """An index at the URL of its list."""

    def __init__(self, run: Run, remote: Remote) -> None:
        self._run = run
        self._remote = remote
        self.base = remote.url if remote.url.endswith("/") else f"{remote.url}/"

    async def serial(self) -> int | None:
        """Return the serial of the index, `None` if it has none."""
        request = self._remote.get_downloader(
            url=self.base, method="HEAD", headers={"Accept": ACCEPT}, same_origin=True
        )
        try:
            found = await request.run()
        except StatusError as error:
            if error.status in _NO_HEAD:
                return None
            raise
        return serial_of(found)

    async def projects(self) -> ProjectList:
        """Return the list of the index. Raise `MetadataError` when it is none."""
        found = await self._get(self.base, LARGEST_LIST)
        return await asyncio.to_thread(_read_list, found)

    async def ask(self, name: str, token: dict[str, Any]) -> Fetched | None:
        """Return the page of a project as it came, `None` where there is none. `token` is what was
        seen of it last time.
        """
        try:
            return await self._get(f"{self.base}{name}/", LARGEST_PAGE, token.get("etag"))
        except StatusError as error:
            if error.status in GONE:
                return None
            raise

    async def read(self, name: str, found: Fetched, rules: Selection) -> Answer:
        """Read a page, and choose of it, in a thread."""
        return await asyncio.to_thread(_read, name, found, rules)

    async def beside(self, url: str) -> Fetched | None:
        """Return what belongs to a file and has no digest upstream, `None` where there is none.

        Raise `TransferError` when it may be there another time.

        No digest holds what arrives, so that a redirect to another party is refused: it might lead
        to a service that only this machine can reach, and what that says would be served.
        """
        request = self._remote.get_downloader(
            url=url, folder=self._run.staging, max_size=LARGEST_BESIDE, same_origin=True
        )
        try:
            return await request.run()
        except (RedirectError, OversizedBodyError, UnsupportedUrlError, IntegrityError):
            return None
        except StatusError as error:
            if 400 <= error.status < 500 and error.status not in _ANOTHER_TIME:
                return None
            raise

    async def _get(self, url: str, max_size: int, etag: str | None = None) -> Fetched:
        request = self._remote.get_downloader(
            url=url,
            validators=None if etag is None else Validators(etag),
            headers={"Accept": ACCEPT},
            folder=self._run.staging,
            max_size=max_size,
            compressed=True,
            same_origin=True,
        )
        found = await request.run()
        if found.not_modified and not (etag is not None and found.confirms(etag)):
            return await self._get(url, max_size)
        return found


def serial_of(found: Fetched) -> int | None:
    """Return the serial that the headers of an answer tell."""
    for name in SERIALS:
        if name in found.headers:
            return read_serial(found.headers[name])
    return None


def _read_list(found: Fetched) -> ProjectList:
    return read_project_list(_body(found), _content_type(found), found.url)


def _read(name: str, found: Fetched, rules: Selection) -> Answer:
    page = read_page(_body(found), _content_type(found), found.url, name)
    return Answer(name=name, fetched=found, page=page, selected=rules.select(page, name))


def _content_type(found: Fetched) -> str:
    kind = found.headers.get("content-type")
    if kind is None:
        raise MetadataError(f"{redact(found.url)}: the answer has no Content-Type")
    return kind


def _body(found: Fetched) -> bytes:
    assert found.path is not None
    with open(found.path, "rb") as file:
        return file.read()
