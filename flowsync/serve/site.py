"""What each request is answered: from the catalog, the store, and what is made from versions.

1. A request costs its share of a look-up in the catalog (`lookups.py`) and one way into a thread; a
   folder or a missing path costs a look-up more.
2. The client's words reach the catalog as values and the file system never: files are opened by the
   names of their blobs.
3. No answer waits longer than `PATIENCE` for the catalog. Without one it is 503, and the next
   request tries again.

| what | answer |
|---|---|
| no repository, no version, no path | 404 |
| a path in the version whose bytes cannot be had | see `access.py` |
| neither GET nor HEAD | 405 |
| a target or a header that cannot be understood | 400 |
| the database does not answer, or the process may open no more files | 503 |

Also here: the grammars of addresses that kinds have. A mount answers in the place of the site.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from flowsync.catalog.queries.served_paths import (
    FolderPage,
    PathQuestion,
    ServedFile,
    ServedVersion,
)
from flowsync.engine.engine import Engine
from flowsync.errors import (
    CatalogError,
    CatalogUnavailableError,
    DeclarationError,
    FlowsyncError,
    RepositoryNotFoundError,
    StoreError,
    VersionNotFoundError,
)
from flowsync.layout import (
    Document,
    Headers,
    Layout,
    Mount,
    MountRequest,
    Place,
    StoredFile,
    check_headers,
)
from flowsync.model.content import type_name
from flowsync.model.recordable import problem_with_path
from flowsync.model.repository import HIDDEN
from flowsync.serve.access import Admit, denial, keep_private, refusal
from flowsync.serve.files.beside import Beside, moved
from flowsync.serve.files.lookups import Folders, LookUps, open_stored
from flowsync.serve.files.sending import SCARCE
from flowsync.serve.http.answer import (
    Answer,
    Asked,
    Flow,
    Offer,
    Representation,
    Unreadable,
    negotiate,
    plain,
)
from flowsync.serve.http.request import (
    Address,
    BadTargetError,
    Slice,
    decoded_segments,
    parse_target,
    query_of,
    with_slash,
)
from flowsync.serve.metrics import CONTENT_TYPE, Metrics
from flowsync.serve.missing.missing import Missing

# Grammars of addresses that kinds of source have for themselves, such as `/v2/` for the registry of
# images: what an address below one means, and how its answers are worded.

_KEPT: Final[tuple[str, ...]] = ("Allow", "Content-Range", "Retry-After", "WWW-Authenticate")
"""Headers of a refusal that stay, however it is worded."""

_log = logging.getLogger(__name__)


class Mounts:
    """The mounts of one server, and what its kinds say of stored files. Raises `DeclarationError`
    when two kinds want one prefix.
    """

    def __init__(self, layouts: Sequence[Layout]) -> None:
        self._mounts: dict[str, Mount] = {}
        self._headers = {
            type_name(each): layout.headers
            for layout in layouts
            if layout.headers is not None
            for each in layout.types
        }
        self._lasting = [
            (layout.lasting, [type_name(each) for each in layout.types])
            for layout in layouts
            if layout.lasting is not None
        ]
        for mount in (mount for layout in layouts for mount in layout.mounts):
            if self._mounts.setdefault(mount.prefix, mount) is not mount:
                raise DeclarationError(f"two kinds of source are mounted at {mount.prefix!r}")

    @property
    def described(self) -> list[str]:
        """The types of units whose fields decide about headers."""
        return sorted(self._headers)

    def find(self, target: str) -> Mount | None:
        """Return the mount that a target lies below. Raise `BadTargetError` for one that cannot be
        understood.
        """
        if not self._mounts:
            return None
        return self._mounts.get(decoded_segments(target)[0])

    def lasting_types(self, path: str) -> list[str]:
        """Return the types of units whose files at `path` may come from an older version."""
        return [name for lasts, names in self._lasting if lasts(path) for name in names]

    def headers_of(self, found: ServedFile) -> Headers:
        """Return what a kind sends with a stored file. Raise `DeclarationError` for what cannot be
        sent.
        """
        headers = self._headers.get(found.type or "")
        if headers is None or found.type is None:
            return {}
        file = StoredFile(
            relative_path=found.relative_path,
            type_name=found.type,
            fields=found.fields,
            sha256=found.sha256,
        )
        own = headers(file)
        check_headers(own, f"the file {found.relative_path!r}")
        return own


def resolve(mount: Mount, target: str) -> Address | Answer:
    """Return the place that a target below a mount means, or what is answered at once."""
    _, *segments = decoded_segments(target)
    meant = mount.resolve(MountRequest(segments=tuple(segments)))
    if isinstance(meant, Document):
        return answer_of(meant)
    if meant is None or _problem_with(meant) is not None:
        return plain(404, "nothing has such an address")
    return Address(
        repository=meant.repository, number=meant.number, moment=meant.moment, path=meant.path
    )


def answer_of(document: Document) -> Answer:
    """Return an answer that is a document, not for keeping."""
    body = document.body if isinstance(document.body, bytes) else b"".join(document.body)
    headers = {"Content-Type": document.content_type or "text/plain; charset=utf-8"}
    headers |= {"Cache-Control": "no-store", **document.headers}
    return Answer(
        status=document.status, headers=headers, body=body, length=len(body), is_worded=True
    )


def worded(mount: Mount, answer: Answer) -> Answer:
    """Return an answer as a mount words it."""
    if mount.refuse is not None and answer.status >= 400 and not answer.is_worded:
        said = answer.body.decode().strip() if isinstance(answer.body, bytes) else ""
        kept = {name: answer.headers[name] for name in _KEPT if name in answer.headers}
        answer = answer_of(mount.refuse(answer.status, said))
        answer.headers |= kept
    answer.headers |= mount.headers
    return answer


def _problem_with(place: Place) -> str | None:
    if place.repository.startswith(HIDDEN) or not place.repository:
        return "no repository is served under that name"
    return problem_with_path(place.path.removesuffix("/"))


PATIENCE: Final = 5.0
"""Seconds that a request waits for the catalog."""

_RETRY_AFTER: Final = "5"

_TOLD: Final = 10_000
"""Blobs that cannot be read of which is remembered that the log has them."""


class Site:
    """All that one server answers. Any number of tasks of one loop may use it at once."""

    def __init__(
        self,
        engine: Engine,
        beside: Beside,
        mounts: Mounts,
        missing: Missing,
        look_ups: LookUps,
        metrics: Metrics,
        *,
        patience: float = PATIENCE,
        lasting: float = 0.0,
        admit: Admit | None = None,
    ) -> None:
        self._engine = engine
        self._patience = patience
        self._look_ups = look_ups
        self._missing = missing
        self._made_beside = beside
        self._mounts = mounts
        self._lasting = lasting
        self._admit = admit
        self._metrics = metrics
        self._folders = Folders(engine, beside.paths)
        self._told: set[str] = set()

    async def answer(self, asked: Asked) -> Answer:
        """Answer a request, whatever becomes of it."""
        try:
            mount = self._mounts.find(asked.target)
            answer = await self._answer_or_refusal(asked, mount)
        except BadTargetError as error:
            return plain(400, str(error))
        if self._admit is not None:
            answer = keep_private(answer)
        return answer if mount is None else worded(mount, answer)

    async def _answer_or_refusal(self, asked: Asked, mount: Mount | None) -> Answer:
        if asked.method not in {"GET", "HEAD"}:
            return plain(405, "this server only reads: GET and HEAD", Allow="GET, HEAD")
        try:
            if mount is not None:
                return await self._mounted(asked, mount)
            address, query = parse_target(asked.target)
            denied = denial(self._admit, asked, address.repository)
            return denied or await self._answer(asked, address, query)
        except (RepositoryNotFoundError, VersionNotFoundError) as error:
            return plain(404, str(error))
        except CatalogUnavailableError as error:
            _log.warning("cannot answer %s: %s", asked.target, error)
            return plain(503, "the catalog does not answer", Retry_After=_RETRY_AFTER)
        except (CatalogError, StoreError, OSError) as error:
            return _failed(asked, error)

    async def _answer(self, asked: Asked, address: Address, query: str) -> Answer:
        if not address.found:
            return plain(404, "no version can have such a path")
        if address.is_own:
            return await self._own(address.path)
        if address.bare:
            return moved(with_slash(asked.target))
        if address.is_folder:
            return await self._folder(asked, address, query)
        found = await self._look_ups.find(
            PathQuestion(address.repository, address.number, address.moment, address.path)
        )
        if found is None:
            return await self._beside(asked, address, query)
        return await self._file(asked, address, found)

    async def _mounted(self, asked: Asked, mount: Mount) -> Answer:
        """Answer for an address in the grammar of a kind: with a stored file, or what is made."""
        meant = resolve(mount, asked.target)
        repository = "" if isinstance(meant, Answer) else meant.repository
        denied = denial(self._admit, asked, repository)
        if denied is not None:
            return denied
        if isinstance(meant, Answer):
            return meant
        if not meant.is_folder:
            found = await self._look_ups.find(
                PathQuestion(meant.repository, meant.number, meant.moment, meant.path)
            )
            if found is not None:
                return await self._file(asked, meant, found)
        version = await self._version(meant)
        answer = await self._made_beside.answer(
            asked, meant, version, query_of(asked.target), moves=False
        )
        answer = answer or await self._lasting_file(asked, meant, version)
        return answer or plain(404, f"version {version.number} of {version.name} has no such path")

    async def _lasting_file(
        self, asked: Asked, address: Address, version: ServedVersion
    ) -> Answer | None:
        """Answer with a file that the newest version has lost lately, where that may be; `None`
        when there is none.
        """
        types = self._mounts.lasting_types(address.path)
        if not types or address.number is not None or address.moment is not None:
            return None
        async with self._patient():
            found = await self._engine.catalog.serving.find_lasting(
                version, address.path, types, self._lasting, self._mounts.described
            )
        return None if found is None else await self._file(asked, address, found)

    async def _file(self, asked: Asked, address: Address, found: ServedFile) -> Answer:
        now = Representation(found.sha256, found.since)
        try:
            own = self._mounts.headers_of(found)
        except Exception:  # noqa: BLE001 - the code of a kind may fail in any way
            _log.exception("cannot tell the headers of %s", asked.target)
            return plain(500, "the file cannot be described; the server's log says why")
        offer = negotiate(asked.headers, address, now, found.size, own=own)
        if asked.method == "HEAD" or not (offer.part or offer.whole):
            return offer.answer
        unreadable = False
        if offer.part and found.blake3 is not None and found.size is not None:
            body = await open_stored(self._engine.store, found.blake3, found.size, offer.part)
            if not isinstance(body, Unreadable):
                offer.answer.body = body
                offer.answer.rest = lambda offset: self._rest(found, offer.part, offset)
                return offer.answer
            unreadable = body.there
            if unreadable:
                self._tell(found, body.reason)
        return await self._missing_file(asked, offer, found, unreadable=unreadable)

    async def _missing_file(
        self, asked: Asked, offer: Offer, found: ServedFile, *, unreadable: bool
    ) -> Answer:
        reading = self._missing.read(found, unreadable=unreadable)
        answer, part = offer.answer, offer.part
        try:
            await reading.first(part)
            if answer.length is None and not asked.chunks:
                answer.length = await reading.whole()
        except FlowsyncError as failure:
            await reading.leave()
            return refusal(failure)
        except BaseException:
            await reading.leave()
            raise
        answer.body = Flow(reading.pieces(part), reading.leave)
        return answer

    async def _rest(self, found: ServedFile, part: Slice | None, offset: int) -> Flow:
        """Return from elsewhere what of a part could not be read."""
        self._tell(found, "it cannot be read to its end")
        end = found.size if part is None else part.end
        rest = Slice(offset, (end or offset) - offset)
        reading = self._missing.read(found, unreadable=True)
        return Flow(reading.pieces(rest), reading.leave)

    def _tell(self, found: ServedFile, reason: str) -> None:
        """Let the log have a line of a blob that cannot be read, once."""
        blob = str(found.blake3)
        if blob not in self._told and len(self._told) < _TOLD:
            self._told.add(blob)
            _log.warning("cannot read blob %s of %s: %s", blob, found.relative_path, reason)

    async def _beside(self, asked: Asked, address: Address, query: str) -> Answer:
        """Answer for a path that no unit of the version has: what is made from the version, or a
        folder without its slash.
        """
        version = await self._version(address)
        answer = await self._made_beside.answer(asked, address, version, query)
        answer = answer or await self._lasting_file(asked, address, version)
        if answer is not None:
            return answer
        async with self._patient():
            below: FolderPage = await self._engine.catalog.serving.folder(
                version, f"{address.path}/", count=1
            )
        if below.children:
            return moved(with_slash(asked.target))
        return plain(404, f"version {version.number} of {version.name} has no such path")

    async def _folder(self, asked: Asked, address: Address, query: str) -> Answer:
        """Answer for a folder: what is made at its path, or the list of what lies in it."""
        if address.repository and self._made_beside.has_page(address.path):
            version = await self._version(address)
            answer = await self._made_beside.answer(asked, address, version, query)
            if answer is not None:
                return answer
        async with self._patient():
            return await self._folders.answer(asked, address, query)

    async def _version(self, address: Address) -> ServedVersion:
        async with self._patient():
            return await self._engine.catalog.serving.version(
                address.repository, address.number, address.moment
            )

    @asynccontextmanager
    async def _patient(self) -> AsyncIterator[None]:
        """Bound how long the block waits for the catalog."""
        try:
            async with asyncio.timeout(self._patience):
                yield
        except TimeoutError as error:
            raise CatalogUnavailableError(f"no answer within {self._patience:g} s") from error

    async def _own(self, word: str) -> Answer:
        if word == "metrics":
            text = self._metrics.text()
            headers = {"Content-Type": CONTENT_TYPE, "Cache-Control": "no-store"}
            return Answer(headers=headers, body=text, length=len(text))
        if word == "health":
            async with self._patient():
                await self._engine.catalog.repositories.names()
            return plain(200, "well")
        return plain(404, "the server's own pages are /-/health and /-/metrics")


def _failed(asked: Asked, error: CatalogError | StoreError | OSError) -> Answer:
    if isinstance(error, OSError) and error.errno in SCARCE:
        _log.warning("cannot answer %s: %s", asked.target, error.strerror)
        return plain(503, "the server is at its limit", Retry_After=_RETRY_AFTER)
    _log.error("cannot answer %s", asked.target, exc_info=error)
    return plain(500, "the server cannot read what it has; its log says why")
