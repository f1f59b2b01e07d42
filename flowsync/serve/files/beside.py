"""Answers with what kinds make from a version: files and pages beside its content."""

import logging
from typing import Final
from urllib.parse import quote

from flowsync.catalog.queries.served_paths import ServedVersion
from flowsync.serve.files.generated import Found, Generated, MakingFailedError, NoBaseError
from flowsync.serve.files.lookups import open_file
from flowsync.serve.files.new_file import MadeFile
from flowsync.serve.http.answer import (
    Answer,
    Asked,
    Representation,
    Unreadable,
    negotiate,
    plain,
    takes_gzip,
)
from flowsync.serve.http.request import Address, Slice, version_url

_TRIES: Final = 2
"""Times that a file is made when it is gone before it can be opened."""

_log = logging.getLogger(__name__)


class Beside:
    """Answers for paths at which a kind may have something made. `url` is what the server is
    called.
    """

    def __init__(self, generated: Generated, url: str | None = None) -> None:
        self._generated = generated
        self._url = url

    @property
    def paths(self) -> list[str]:
        """The paths at which a version may have a file, as far as they are told."""
        return self._generated.paths

    def has_page(self, path: str) -> bool:
        """Say whether a version may have a page at `path`."""
        return self._generated.has_page(path)

    async def answer(
        self,
        asked: Asked,
        address: Address,
        version: ServedVersion,
        query: str,
        *,
        moves: bool = True,
    ) -> Answer | None:
        """Return the answer for a path of the version, or `None` when nothing is made there. Unless
        it `moves`, being sent to another path counts as nothing. Raise what the catalog raises.
        """
        for _ in range(_TRIES):
            try:
                found = await self._generated.find(
                    version,
                    address.path,
                    accept=asked.headers.get("Accept"),
                    query=query,
                    base=lambda: version_url(self._url, asked.headers.get("Host"), address),
                )
            except NoBaseError:
                return plain(400, "the page holds addresses: send a Host that can be one")
            except MakingFailedError as error:
                _log.exception("cannot make %s", asked.target, exc_info=error.__cause__)
                return plain(500, "the page cannot be made; the server's log says why")
            if found is None:
                return None
            if not isinstance(found.made, MadeFile):
                return None if not moves else moved(_reference(asked.target, found.made.path))
            answer = await _made(asked, address, version, found, found.made)
            if answer is not None:
                return answer
            await self._generated.forget(version)
        return plain(503, "the file is being made", Retry_After="1")


def moved(reference: str) -> Answer:
    """Return the answer that something is at another place, and may be another time."""
    answer = plain(301, reference, Location=reference)
    answer.headers["Cache-Control"] = "public, no-cache"
    return answer


async def _made(
    asked: Asked, address: Address, version: ServedVersion, found: Found, made: MadeFile
) -> Answer | None:
    """Answer with a file that was made, or return `None` when it is gone."""
    own = dict(made.headers)
    if made.content_type is not None:
        own["Content-Type"] = made.content_type
    if made.status != 200:
        return await _refusal(asked, made, own)
    file, size, tag = made.file, made.size, made.sha256
    if made.packed is not None and takes_gzip(asked.headers.get("Accept-Encoding")):
        file, size, tag = made.packed, made.packed_size, f"{made.sha256}-gzip"
        own["Content-Encoding"] = "gzip"
    now = Representation(tag, max(version.created, found.revised or version.created))
    offer = negotiate(asked.headers, address, now, size, vary=found.vary, own=own)
    if offer.part is not None and asked.method != "HEAD":
        body = await open_file(file, size, offer.part)
        if isinstance(body, Unreadable):
            return None
        offer.answer.body = body
    return offer.answer


async def _refusal(asked: Asked, made: MadeFile, own: dict[str, str]) -> Answer | None:
    """Answer with what a kind says instead of a page: always the whole, and not for keeping."""
    headers = {"Content-Type": "text/plain; charset=utf-8", "Cache-Control": "no-store", **own}
    answer = Answer(status=made.status, headers=headers, length=made.size, is_worded=True)
    if asked.method != "HEAD":
        body = await open_file(made.file, made.size, Slice(0, made.size))
        if isinstance(body, Unreadable):
            return None
        answer.body = body
    return answer


def _reference(target: str, path: str) -> str:
    """Return how a request for `target` is sent to another path of its version: relative to it, so
    below any prefix of a proxy.
    """
    asked = target.partition("#")[0].partition("?")[0]
    if not asked.startswith("/"):
        asked = f"/{asked.partition('://')[2].partition('/')[2]}"
    # Of /NAME/a/b the folder is two steps from the root, and one from the version.
    up = "../" * (asked.count("/") - 2)
    return f"{up or './'}{quote(path, safe='/@:~+')}"
