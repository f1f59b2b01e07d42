"""What a kind of source adds to its versions where they are served. Values and ports, no I/O.

1. All that is made from a version depends on nothing but what the version holds and the kind's own
   code, so that each server makes the same bytes of it, today and in a year.
2. What makes a file or a page is plain blocking code. It runs in a thread of the server and reads
   the version through a `VersionReader`, batch by batch.
3. Paths are those below a version, without a slash at the beginning. What matches paths is called
   in the server's loop for every request: it must be pure and quick.

One module: they are one contract, which a kind fills in.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar

import msgspec

from flowsync.errors import DeclarationError
from flowsync.model.content import Content
from flowsync.model.measures import problem_with_count
from flowsync.model.recordable import problem_with_path
from flowsync.model.repository import MOUNTABLE
from flowsync.model.url import why_unsendable

C = TypeVar("C", bound=Content)

Headers = Mapping[str, str]


class UnitFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file of a unit. `sha256` and `size` (bytes) are `None` while they are not known."""

    relative_path: str
    sha256: str | None
    size: int | None


class VersionUnit(msgspec.Struct, Generic[C], frozen=True, kw_only=True):
    """A unit of a version with its files, in order of path."""

    content: C
    files: tuple[UnitFile, ...]


class VersionFile(msgspec.Struct, Generic[C], frozen=True, kw_only=True):
    """A file of a version, and the unit that it belongs to."""

    content: C
    relative_path: str
    sha256: str | None
    size: int | None


class VersionReader(Protocol):
    """A complete version, for blocking code in the thread that was given it."""

    @property
    def repository(self) -> str:
        """The name of the repository."""

    @property
    def number(self) -> int:
        """The version's number."""

    @property
    def created(self) -> datetime:
        """When the version was begun."""

    @property
    def present(self) -> int:
        """How many units it has."""

    def units(
        self,
        content_type: type[C],
        *,
        group: Sequence[Any] | None = None,
        with_files: bool = True,
    ) -> Iterator[VersionUnit[C]]:
        """Yield the units of a type in the order of their ids, which is no order to people and the
        same everywhere; without their files if these are not wanted.

        Of all units some are in memory at a time; of a `group`, which is the values of the type's
        `group_key`, all are. What is made from files of which size or digest is not known yet is
        made anew the next time.
        """

    def files(
        self, content_type: type[C], *, group: Sequence[Any] | None = None
    ) -> Iterator[VersionFile[C]]:
        """Yield the files of the units of a type in order of path, like `units`."""


class NewFile(Protocol):
    """A file that is being made. Closed, it says what it came to."""

    @property
    def size(self) -> int:
        """Bytes that were written."""

    @property
    def sha256(self) -> str:
        """The digest of what was written, in hexadecimal."""

    def write(self, data: bytes) -> None:
        """Append bytes."""

    def close(self) -> None:
        """Take no more bytes. Closing again does nothing."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


class NewFiles(Protocol):
    """Where files are made."""

    def open(
        self,
        path: str,
        *,
        content_type: str | None = None,
        headers: Mapping[str, str] = {},
        compressed: bool = False,
    ) -> NewFile:
        """Begin the file at `path`. Without a `content_type` its name tells it. `headers` are sent
        with it. Of a `compressed` one, clients that take gzip get that.

        Raise `DeclarationError` for a path that is not one of these files, or was begun before.
        """


class GeneratedFiles(msgspec.Struct, frozen=True, kw_only=True):
    """Files that are made together, when the first of them is asked for: `make(version, files)`.

    `paths` names them where folders are listed; `covers` finds others. Any number of files may be
    open at once, and one may hold the digests of others that are closed. What a version holds goes
    before them.
    """

    make: Callable[[VersionReader, NewFiles], None]
    paths: tuple[str, ...] = ()
    covers: Callable[[str], bool] | None = None

    def __post_init__(self) -> None:
        for path in self.paths:
            problem = problem_with_path(path)
            if problem is not None:
                raise DeclarationError(f"no file can be made at {path!r}: it {problem}")

    def has(self, path: str) -> bool:
        """Say whether one of the files may be at `path`."""
        return path in self.paths or (self.covers is not None and self.covers(path))


class PageRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a page is to be made for. `media_type` is the one of the page's that the client likes
    best. `query` has the parameters that the page names, each with its first value.

    `base` is the address of the version for clients, with a slash at its end; empty unless the page
    is `absolute`.
    """

    path: str
    media_type: str = ""
    query: Mapping[str, str] = {}
    base: str = ""


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """The body of an answer, whole or in pieces, with its type and what else is sent with it.

    Without a `content_type` it is that of the request's media type.
    """

    body: bytes | Iterable[bytes]
    content_type: str = ""
    headers: Headers = {}
    status: int = 200

    def __post_init__(self) -> None:
        check_headers(self.headers, "a document")
        problem = problem_with_count(self.status, 200, 599)
        if problem is not None:
            raise DeclarationError(f"the status of a document {problem}")


class Moved(msgspec.Struct, frozen=True):
    """Says that a page is at another path of the version."""

    path: str


Page = Document | Moved | None
"""What becomes of a page: `None` where there is none at its path."""


class GeneratedPage(msgspec.Struct, frozen=True, kw_only=True):
    """Pages that are made one by one when they are asked for: `make(version, request)`, for the
    paths that `covers` says, also such that end with a slash.

    `media_types` are what a page can be had as, the one for clients without a preference first.
    `parameters` name what of a query counts. An `absolute` page holds addresses. A `compressed` one
    goes out as gzip to clients that take it.

    What a version holds goes before a page, and a page before folders.
    """

    covers: Callable[[str], bool]
    make: Callable[[VersionReader, PageRequest], Page]
    media_types: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()
    absolute: bool = False
    compressed: bool = True


class StoredFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file that a version holds, as it is about to be served: of a unit of a type, with the
    unit's fields.
    """

    relative_path: str
    type_name: str
    fields: Mapping[str, Any]
    sha256: str | None


class MountRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for below a mount: the segments of the address behind its prefix, each decoded
    by itself, so that an encoded slash does not divide one. A slash at the end leaves an empty one.
    """

    segments: tuple[str, ...]


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A path of a version, by its number, or the newest at a moment, or the newest."""

    repository: str
    path: str
    number: int | None = None
    moment: datetime | None = None


class Mount(msgspec.Struct, frozen=True, kw_only=True):
    """A grammar of addresses of its own, below `/PREFIX/`; the prefix is a name that no repository
    can have.

    `resolve` says what an address means: a place, of which a stored file or a page is served but no
    folder, or a document, or nothing. It runs in the loop, is pure and quick. `refuse` puts what
    goes wrong, a status and a sentence, into the words of the protocol. `headers` are sent with
    every answer.
    """

    prefix: str
    resolve: Callable[[MountRequest], Place | Document | None]
    refuse: Callable[[int, str], Document] | None = None
    headers: Mapping[str, str] = {}

    def __post_init__(self) -> None:
        if self.prefix not in MOUNTABLE:
            raise DeclarationError(
                f"nothing can be mounted at {self.prefix!r}: a repository may have that name; "
                f"possible are {', '.join(sorted(MOUNTABLE))}"
            )
        check_headers(self.headers, f"the mount {self.prefix!r}")


ExportedFile = tuple[str, bytes | Iterable[bytes]]
"""The path of a file below an export, and its body, whole or in pieces."""


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """What versions with units of `types` have beside their content; those without any unit have it
    too.

    `headers` gives what is sent with a stored file of these types, such as its `Content-Type`; the
    server's own are `Content-Length`, `ETag`, `Last-Modified` and those of ranges. `revised` is
    when the code last changed what it makes: nobody who asked before then is told that nothing
    changed since.

    `lasting` says of which paths of these types clients may ask a little later than the metadata
    that names them: what the newest version does not have there is served from one that was the
    newest lately, where no version was named.

    `exported` gives what an export has beside the stored files, so that a plain server of files can
    serve it to the kind's clients: paths with their bodies, which are made as pages are, one after
    the other.
    """

    types: tuple[type[Content], ...] = ()
    files: tuple[GeneratedFiles, ...] = ()
    pages: tuple[GeneratedPage, ...] = ()
    mounts: tuple[Mount, ...] = ()
    lasting: Callable[[str], bool] | None = None
    headers: Callable[[StoredFile], Headers] | None = None
    exported: Callable[[VersionReader], Iterable[ExportedFile]] | None = None
    revised: datetime | None = None

    def __post_init__(self) -> None:
        if not self.types and any(
            (self.files, self.pages, self.headers, self.lasting, self.exported)
        ):
            raise DeclarationError("a layout must name the types of the versions that it is for")
        if self.revised is not None and self.revised.tzinfo is None:
            raise DeclarationError(
                f"when a layout was revised needs a time zone, found {self.revised.isoformat()}"
            )


_OWN: frozenset[str] = frozenset(
    {
        "accept-ranges",
        "connection",
        "content-encoding",
        "content-length",
        "content-range",
        "etag",
        "last-modified",
        "transfer-encoding",
    }
)


def check_headers(headers: Headers, of: str) -> None:
    """Raise `DeclarationError` when a header cannot be sent, or is the server's own to send."""
    for name, value in headers.items():
        reason = why_unsendable(name, value)
        if reason is None and name.lower() in _OWN:
            reason = "the server itself says that"
        if reason is not None:
            raise DeclarationError(f"header {name!r} of {of}: {reason}")
