"""Grammars of addresses that kinds of source have for themselves, such as `/v2/` for the registry
of images: what an address below one means, and how its answers are worded.
"""

import logging
from collections.abc import Sequence
from typing import Final

from flowsync.catalog.queries.served_paths import ServedFile
from flowsync.errors import DeclarationError
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
from flowsync.serve.http.answer import Answer, plain
from flowsync.serve.http.target import Address, decoded_segments

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
