"""Brings suites: the trio of each, believed, and its indexes, verified. Nothing is declared here.

1. One conditional request a suite finds out whether it changed, where upstream's entity tag proves
   it. Of one that did not, list and indexes come from the store.
2. Indexes that are read are fetched and verified before anything of their suite is declared. A
   wrong one begins another round (`rounds.py`).
3. An index that is listed need not exist. It must in one packing, if it is to be read; others that
   are not there leave no trace.
"""

import asyncio
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import quote

import msgspec

from flowsync import Fetched, MetadataError, Remote, Validators, redact, task_group
from flowsync.errors import (
    IntegrityError,
    OversizedBodyError,
    StatusError,
    TransferError,
    UnreadableFileError,
)
from flowsync.sources.deb.indexes.choice import Index, chosen, folder_of, names_of
from flowsync.sources.deb.indexes.reading import sha256_of
from flowsync.sources.deb.indexes.release import BY_HASH, LARGEST, Listed
from flowsync.sources.deb.options import DebOptions
from flowsync.sources.deb.rounds import Rounds, WrongIndex
from flowsync.sources.deb.trust import Believed, Trio, Trust, memory_of

AT_ONCE: Final = 16
"""Indexes that are fetched at a time."""

LARGEST_SIGNATURE: Final = 1 << 20
"""Bytes of a `Release.gpg`."""

TRIO: Final = ("InRelease", "Release", "Release.gpg")

_FORM: Final = TRIO[0]

_MISSING: Final = frozenset({403, 404, 410})

_log = logging.getLogger(__name__)


class Brought(msgspec.Struct, frozen=True):
    """A file of a suite that is here: what lists it, where it lies, and its sha256."""

    listed: Listed
    path: str
    sha256: str


class Suite(msgspec.Struct, frozen=True, kw_only=True):
    """A suite with what was brought of it. `files` are those of the trio by name. `indexes` has
    each that is taken, with the packing that is read, if one is, and the others that are here.
    """

    name: str
    folder: str
    believed: Believed
    files: Mapping[str, str]
    indexes: Sequence[tuple[Index, Sequence[Brought]]]
    by_hash: Mapping[str, str]

    def names(self, listed: Listed) -> list[str]:
        """Return the paths of an index below the archive's root."""
        return list(names_of(self.folder, listed, self.by_hash))


class Run(Protocol):
    """What this needs of a run: the ports that a stage finds in its `context`."""

    @property
    def staging(self) -> str: ...
    async def metadata(
        self, remote: Remote, url: str, *, expected: Mapping[str, str], **request: Any
    ) -> Fetched: ...


class Look(msgspec.Struct, frozen=True):
    """What was found of a suite's list when it was asked for by that name; nothing if it is not
    there. `seen` is what the last sync saw, if the list is still the same.
    """

    name: str
    found: Fetched | None
    seen: Mapping[str, Any] = {}


class Suites:
    """Brings the suites of one archive for one run. `before` is what the last one saw of each, if
    nothing needs to be done where that is unchanged; `known` is what an earlier one saw.
    """

    def __init__(
        self,
        run: Run,
        remote: Remote,
        options: DebOptions,
        before: Mapping[str, Any],
        known: Mapping[str, Any],
        pauses: Sequence[float],
    ) -> None:
        self._run = run
        self._remote = remote
        self._options = options
        self._before = before
        self._known = known
        self._pauses = pauses
        self._trust = Trust(options)
        self._room = asyncio.Semaphore(AT_ONCE)
        self.root = remote.url if remote.url.endswith("/") else f"{remote.url}/"

    def url(self, path: str) -> str:
        """Return the URL of a path below the archive's root."""
        return self.root + quote(path, safe="/:+~")

    async def look(self, suite: str) -> Look:
        """Ask whether a suite changed."""
        seen = self._before.get(suite, {})
        name = seen.get("form", _FORM)
        found = await self._ask(f"{folder_of(suite)}{name}", seen.get("etag"), LARGEST)
        if found is None:
            return Look(name, None)
        if found.not_modified or (seen and found.digests["sha256"] == seen.get("sha256")):
            return Look(name, None, seen)
        return Look(name, found)

    async def bring(self, suite: str, look: Look) -> tuple[Suite, Any]:
        """Return a suite that was looked at, and what the next sync is to know of it. Raise
        `MetadataError` when it cannot be believed, or is never whole.
        """
        rounds = Rounds(suite, self._pauses)
        wrong: WrongIndex | None = None
        disagreed = False
        while True:
            files, sha256, tag = await self._trio(suite, look)
            rounds.begin(sha256, wrong)
            believed, bodies = await self._believed(suite, files)
            if believed.warning and not disagreed:
                # One of the two may have come before a switch, and the other after it.
                disagreed, wrong = True, None
                _log.info("suite %s: %s; asking again", suite, believed.warning)
            else:
                try:
                    return await self._whole(suite, believed, bodies, files, sha256, tag)
                except WrongIndex as error:
                    wrong = error
                    _log.warning("suite %s: %s: %s; asking again", suite, error.path, error.reason)
            await asyncio.sleep(rounds.pause())
            look = Look(_FORM, await self._ask(f"{folder_of(suite)}{_FORM}", None, LARGEST))

    async def _trio(self, suite: str, look: Look) -> tuple[dict[str, str], str, str | None]:
        """Return the files of a suite's trio by name, and of the one by which the next sync finds
        out whether it changed the sha256 and the tag.
        """
        folder = folder_of(suite)
        if look.seen:
            kept = await self._kept(folder, look.seen)
            if kept is not None:
                return kept, look.seen["sha256"], look.seen.get("etag")
            look = Look(look.name, await self._ask(f"{folder}{look.name}", None, LARGEST))
        found = {look.name: look.found}
        for name in TRIO:
            if name not in found:
                size = LARGEST_SIGNATURE if name == "Release.gpg" else LARGEST
                found[name] = await self._ask(f"{folder}{name}", None, size)
        main = found[_FORM] or found["Release"]
        if main is None:
            raise MetadataError(
                f"suite {suite}: there is neither InRelease nor Release at "
                f"{redact(self.url(folder))}; the URL is that of the archive's root, which holds "
                "'dists'"
            )
        files = {name: _path(each) for name, each in found.items() if each is not None}
        return files, main.digests["sha256"], _proof(main)

    async def _kept(self, folder: str, seen: Mapping[str, Any]) -> dict[str, str] | None:
        """Return the trio of the last sync, from the store; `None` when it has not all of it."""
        files: dict[str, str] = {}
        for name, sha256 in seen.get("trio", {}).items():
            try:
                found = await self._run.metadata(
                    self._remote,
                    self.url(f"{folder}{name}"),
                    expected={"sha256": sha256},
                    max_size=LARGEST,
                )
            except (TransferError, IntegrityError):
                return None
            files[name] = _path(found)
        return files or None

    async def _believed(
        self, suite: str, files: Mapping[str, str]
    ) -> tuple[Believed, dict[str, bytes]]:
        """Return what a trio says, and its files' bytes by name. Raise `MetadataError` when it
        cannot be believed.
        """
        bodies = await asyncio.to_thread(_read_all, files)
        trio = Trio(*(bodies.get(name) for name in TRIO))
        known = self._known.get(suite, {})
        with self._named(suite, files):
            believed = await asyncio.to_thread(
                self._trust.judge, suite, trio, known, datetime.now(UTC)
            )
        return believed, bodies

    @contextmanager
    def _named(self, suite: str, files: Mapping[str, str]) -> Iterator[None]:
        """Let what is wrong with a suite's list be told with its URL."""
        try:
            yield
        except MetadataError as error:
            name = "InRelease" if "InRelease" in files else "Release"
            where = redact(self.url(f"{folder_of(suite)}{name}"))
            raise MetadataError(f"{where}: {error}") from None

    async def _whole(
        self,
        suite: str,
        believed: Believed,
        bodies: Mapping[str, bytes],
        files: dict[str, str],
        sha256: str,
        tag: str | None,
    ) -> tuple[Suite, Any]:
        with self._named(suite, files):
            wanted = await asyncio.to_thread(chosen, suite, believed.release, self._options)
        if believed.warning:
            _log.warning("suite %s: %s; only InRelease is kept", suite, believed.warning)
        kept = dict(zip(TRIO, _bodies(believed.trio), strict=True))
        files = {name: path for name, path in files.items() if kept[name] is not None}
        digests = {name: sha256_of(bodies[name]) for name in files}
        by_hash = _by_hash(believed)
        indexes = await self._indexes(folder_of(suite), wanted, by_hash)
        seen = {
            **memory_of(believed),
            "sha256": sha256,
            "etag": tag,
            "form": "InRelease" if "InRelease" in files else "Release",
            "trio": digests,
        }
        found = Suite(
            name=suite,
            folder=folder_of(suite),
            believed=believed,
            files=files,
            indexes=indexes,
            by_hash=by_hash,
        )
        return found, seen

    async def _indexes(
        self, folder: str, wanted: Sequence[Index], by_hash: Mapping[str, str]
    ) -> list[tuple[Index, Sequence[Brought]]]:
        """Fetch indexes, some at a time. Raise `WrongIndex` for one that is not what is listed."""
        async with task_group() as group:
            bringing = [group.create_task(self._index(folder, index, by_hash)) for index in wanted]
        return [(index, task.result()) for index, task in zip(wanted, bringing, strict=True)]

    async def _index(self, folder: str, index: Index, by_hash: Mapping[str, str]) -> list[Brought]:
        """Return what is here of an index. Of a sync that downloads nothing that is only the
        packing that is read, unless the mirror's own list needs all that is there.
        """
        found: list[Brought] = []
        later = self._remote.deferred and not self._options.renders
        for listed in index.variants:
            if later and (found or not index.reads):
                break
            if found and not listed.path.endswith(_PACKED):
                continue
            fetched = await self._file(folder, listed, by_hash)
            if fetched is not None:
                found.append(Brought(listed, _path(fetched), fetched.digests["sha256"]))
        is_empty = any(listed.size == 0 for listed in index.variants)
        if index.reads and not found and not is_empty:
            raise WrongIndex(f"{folder}{index.stem}", "it is listed, and is not there")
        return found

    async def _file(
        self, folder: str, listed: Listed, by_hash: Mapping[str, str]
    ) -> Fetched | None:
        """Return the file of an index; `None` when upstream has it nowhere. Raise `WrongIndex` when
        it is another one.
        """
        own, *others = names_of(folder, listed, by_hash)
        expected = {name: listed.digests[name] for name in _STRONG if name in listed.digests}
        # By its digest first: that is there also amid a switch.
        wrong: Exception | None = None
        for name in [*sorted(others, key=_strongest_first)[:1], own]:
            try:
                async with self._room:
                    fetched = await self._run.metadata(
                        self._remote,
                        self.url(name),
                        expected=expected,
                        size=listed.size,
                        max_size=listed.size,
                    )
            except (IntegrityError, TransferError) as error:
                if not _is_missing(error):
                    wrong = error
            else:
                return fetched
        if wrong is None:
            return None
        if isinstance(wrong, IntegrityError | OversizedBodyError):
            raise WrongIndex(own, str(wrong)) from wrong
        raise wrong

    async def _ask(self, path: str, tag: str | None, max_size: int) -> Fetched | None:
        """Fetch a file of a trio; `None` when it is not there."""
        downloader = self._remote.get_downloader(
            url=self.url(path),
            validators=None if tag is None else Validators(tag),
            folder=self._run.staging,
            max_size=max_size,
        )
        try:
            found = await downloader.run()
        except TransferError as error:
            if _is_missing(error):
                return None
            raise
        if found.not_modified and not (tag is not None and found.confirms(tag)):
            return await self._ask(path, None, max_size)
        return found


_STRONG: Final = ("sha512", "sha256")
_PACKED: Final = (".xz", ".zst", ".gz", ".bz2", ".lz4")


def _by_hash(believed: Believed) -> dict[str, str]:
    if not believed.release.by_hash:
        return {}
    return {name: BY_HASH[name] for name in believed.release.algorithms}


def _strongest_first(path: str) -> int:
    return 0 if "/by-hash/SHA256/" in f"/{path}" else 1


def _is_missing(error: Exception) -> bool:
    if isinstance(error, StatusError):
        return error.status in _MISSING
    return isinstance(error, UnreadableFileError)


def _bodies(trio: Trio) -> tuple[bytes | None, ...]:
    return trio.in_release, trio.release, trio.signature


def _read_all(files: Mapping[str, str]) -> dict[str, bytes]:
    return {name: Path(path).read_bytes() for name, path in files.items()}


def _path(found: Fetched) -> str:
    assert found.path is not None
    return found.path


def _proof(found: Fetched) -> str | None:
    # The tag of a file is made of date and size.
    return None if found.url[:5].lower() == "file:" else found.proof
