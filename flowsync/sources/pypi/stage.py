"""The first stage of the pypi source: asks an index for what changed, and declares the files of the
projects that are taken.

1. One request for the serial finds out whether there is anything to do, where the index has one.
2. Where there is a list with serials, only projects with another one are asked for; others that are
   asked for by their entity tag or digest. What is unchanged is kept as it is.
3. Ages are judged at one moment. A project with files that are too young is asked for again when
   the first of them is old enough, also from an unchanged index.
4. A page that is older than the list says is used, and asked for again the next time.
"""

import asyncio
import logging
import os
from collections import Counter
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from flowsync import (
    Artifact,
    DeclarativeArtifact,
    DeclarativeContent,
    Fetched,
    MetadataError,
    Remote,
    Stage,
    UpstreamUnchanged,
    redact,
    task_group,
)
from flowsync.errors import IntegrityError, TransferError
from flowsync.sources.pypi.content import PythonFile, PythonProject, path_of
from flowsync.sources.pypi.fetching import Answer, Index
from flowsync.sources.pypi.options import PypiOptions
from flowsync.sources.pypi.pages.page import DIGESTS, Page, PageFile
from flowsync.sources.pypi.requirements import Wanted, read_wanted
from flowsync.sources.pypi.selection import Selection

AT_ONCE: Final = 50
"""Pages that are fetched, or wait on disk to be read, at a time."""

ONE_BY_ONE: Final = 2000
"""Projects above which the list of an index is asked for, instead of each page."""

KEPT_AT_ONCE: Final = 5000

_Token = dict[str, Any]
_Listed = Sequence[tuple[str, int | None]]

_log = logging.getLogger(__name__)


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """Which projects a run asks for, by their serials of the list, and which it keeps. `gone` are
    those that are no longer there or wanted. `due` is when the first of the kept is asked again.
    """

    asked: Mapping[str, int | None]
    kept: Sequence[str]
    gone: Sequence[str]
    serial: int | None
    due: str | None


class PypiFirstStage(Stage):
    """Declares the projects of the index at `remote`, as the options say.

    Raises `MetadataError` when a page cannot be understood or must not be believed, unless the sync
    goes on without what cannot be had; `SettingsError` for files of requirements that cannot be
    read; and `UpstreamUnchanged` when the index is the one of the last sync.
    """

    def __init__(self, remote: Remote, options: PypiOptions) -> None:
        self.remote = remote
        self.options = options
        self._refused: Counter[str] = Counter()
        self._stale = False
        self._due: datetime | None = None

    async def run(self) -> None:
        """Ask the index, and put what is taken."""
        now = datetime.now(UTC)
        wanted = await asyncio.to_thread(read_wanted, self.options)
        terms = {"wanted": wanted.fingerprint()}
        before = await self.context.upstream.recall(self.remote, options=terms) or {}
        index = Index(self.context, self.remote)
        serial = await index.serial() if before.get("serial") is not None or not before else None
        is_due = _is_due(before, now)
        is_same = serial is not None and serial == before.get("serial")
        if is_same and not (is_due or before.get("stale")):
            raise UpstreamUnchanged(redact(index.base))
        rules = Selection(self.options, wanted, now)
        tokens = await self._tokens(before, serial)
        choice = await self._choose(index, rules, wanted, tokens)
        lost = await self._keep(choice.kept)
        asked = {**choice.asked, **{name: tokens[name].get("serial") for name in lost}}
        await self._declare_all(index, rules, asked, tokens)
        await self.context.upstream.remember_items(dict.fromkeys(choice.gone))
        self._tell_refused()
        seen = {
            "serial": serial if choice.serial is None else choice.serial,
            "stale": self._stale,
            "due": None if self._due is None else self._due.isoformat(),
        }
        self.context.upstream.remember(self.remote, seen, options=terms)

    async def _tokens(self, before: Mapping[str, Any], serial: int | None) -> dict[str, _Token]:
        """Return what the last sync saw of each project; nothing when the index went back."""
        last = before.get("serial")
        if serial is not None and last is not None and serial < last:
            _log.warning(
                "%s: its serial went from %d back to %d; all of it is read again",
                redact(self.remote.url),
                last,
                serial,
            )
            return {}
        return await self.context.upstream.recall_items() if before else {}

    async def _choose(
        self, index: Index, rules: Selection, wanted: Wanted, tokens: Mapping[str, _Token]
    ) -> Choice:
        listed: _Listed = [(name, None) for name in sorted(wanted.projects)]
        serial = None
        with self.meter("sync.downloading.metadata", "Downloading Metadata") as meter:
            if wanted.everything or len(wanted.projects) > ONE_BY_ONE:
                found = await index.projects()
                meter.advance(1)
                listed, serial = found.projects, found.serial
                self._refused.update(refusal.rule for refusal in found.refused)
        # An index may list a million projects: time for a thread.
        choice = await asyncio.to_thread(_chosen, listed, serial, rules, tokens)
        self._note_due(choice.due)
        return choice

    async def _keep(self, names: Sequence[str]) -> list[str]:
        """Keep projects with their files. Return those of which the repository has nothing."""
        lost: list[str] = []
        for start in range(0, len(names), KEPT_AT_ONCE):
            groups = [(name,) for name in names[start : start + KEPT_AT_ONCE]]
            lost += [str(name) for (name,) in await self.context.keep(PythonProject, groups)]
            await self.context.keep(PythonFile, groups)
        return lost

    async def _declare_all(
        self,
        index: Index,
        rules: Selection,
        asked: Mapping[str, int | None],
        tokens: Mapping[str, _Token],
    ) -> None:
        names = sorted(asked)
        with self.meter("sync.parsing.metadata", "Parsing Metadata", len(names)) as meter:
            # Closed here: when a page ends the sync, no request of another one goes on.
            async with aclosing(self._pages(index, names, tokens)) as pages:
                async for name, found in pages:
                    token = tokens.get(name, {})
                    answer = await self._answer(index, rules, name, found, token, asked[name])
                    if answer is not None:
                        await self._declare(answer, asked[name])
                    if isinstance(found, Fetched):
                        await asyncio.to_thread(_remove, found)
                    meter.advance(1)

    async def _pages(
        self, index: Index, names: Sequence[str], tokens: Mapping[str, _Token]
    ) -> AsyncGenerator[tuple[str, Fetched | Exception | None]]:
        """Yield the pages in order, some of them fetched ahead."""
        async with task_group() as group:
            ahead: list[asyncio.Task[Fetched | Exception | None]] = []
            for place, name in enumerate(names):
                while len(ahead) < AT_ONCE and place + len(ahead) < len(names):
                    new = names[place + len(ahead)]
                    ahead.append(group.create_task(_asked(index, new, tokens.get(new, {}))))
                yield name, await ahead.pop(0)

    async def _answer(
        self,
        index: Index,
        rules: Selection,
        name: str,
        found: Fetched | Exception | None,
        token: _Token,
        listed: int | None,
    ) -> Answer | None:
        """Return what there is to declare of a project; `None` when it was kept, or is gone."""
        if found is None:
            _log.warning("%s: there is no project %r", redact(index.base), name)
            await self.context.upstream.remember_items({name: None})
            return None
        if isinstance(found, Fetched):
            is_same = found.not_modified or found.digests["sha256"] == token.get("sha256")
            if is_same and not _is_due(token, rules.now) and not await self._keep([name]):
                self._note_due(token.get("due"))
                # The bytes of last time under a newer serial of the list are stale as well.
                is_stale = self._note_stale(token.get("page"), listed)
                if not is_stale:
                    await self.context.upstream.remember_items({name: {**token, "serial": listed}})
                return None
            if found.not_modified:
                found = await _asked(index, name, {})
                return await self._answer(index, rules, name, found, {}, listed)
        try:
            if isinstance(found, Exception):
                raise found
            answer = await index.read(name, found, rules)
            beside = await self._beside(index, _files_of(answer))
            return msgspec.structs.replace(answer, beside=beside)
        except (MetadataError, TransferError, IntegrityError) as error:
            if self.context.on_error == "fail":
                raise
            self._stale = True
            self.context.leave_out(f"simple/{name}/", f"{index.base}{name}/", str(error))
            await self._keep([name])
            return None

    async def _declare(self, answer: Answer, listed: int | None) -> None:
        page, selected, fetched = answer.page, answer.selected, answer.fetched
        files, beside = _files_of(answer), answer.beside
        self._refused.update(refusal.rule for refusal in selected.refused)
        await self.put(DeclarativeContent(self._project(answer.name, page)))
        if self.options.provenance == "verify":
            files = await asyncio.to_thread(self._proven, files, beside)
        await self.put_all(
            [self._file(answer.name, file, beside.get(file.filename, {})) for file in files]
        )
        is_stale = self._note_stale(answer.serial, listed)
        due = selected.due
        self._note_due(None if due is None else due.isoformat())
        token = {
            "serial": None if is_stale else listed,
            "page": answer.serial,
            "etag": None if is_stale else fetched.proof,
            "sha256": None if is_stale else fetched.digests["sha256"],
            "due": None if due is None else due.isoformat(),
        }
        await self.context.upstream.remember_items({answer.name: token})

    def _project(self, name: str, page: Page) -> PythonProject:
        tracks = (page.url,) if self.options.tracks else ()
        return PythonProject(
            name=name,
            status=page.status,
            reason=page.reason,
            alternate_locations=page.alternate_locations,
            tracks=tracks,
        )

    async def _beside(
        self, index: Index, files: Iterable[PageFile]
    ) -> dict[str, dict[str, Fetched]]:
        """Bring what belongs to files and has no digest upstream, some at a time: attestations, and
        metadata without a digest. What cannot be had is not there.
        """
        wanted: list[tuple[str, str, str]] = []
        for file in files:
            if file.provenance is not None and self.options.provenance != "off":
                wanted.append((file.filename, ".provenance", file.provenance))
            if file.metadata == "" and self.options.core_metadata:
                wanted.append((file.filename, ".metadata", f"{file.url}.metadata"))
        found: dict[str, dict[str, Fetched]] = {}
        for start in range(0, len(wanted), AT_ONCE):
            some = wanted[start : start + AT_ONCE]
            async with task_group() as group:
                tasks = [group.create_task(index.beside(url)) for _, _, url in some]
            for (filename, what, _), task in zip(some, tasks, strict=True):
                brought = task.result()
                if brought is not None:
                    found.setdefault(filename, {})[what] = brought
        return found

    def _proven(
        self, files: Iterable[PageFile], beside: Mapping[str, Mapping[str, Fetched]]
    ) -> tuple[PageFile, ...]:
        """Return the files without attestations, and those whose own hold."""
        from flowsync.sources.pypi.provenance import problem_with  # noqa: PLC0415 - see there

        proven = []
        for file in files:
            found = beside.get(file.filename, {}).get(".provenance")
            problem: str | None = None
            if file.provenance is not None:
                problem = "its provenance cannot be had"
                if found is not None:
                    assert found.path is not None
                    problem = problem_with(found.path, file.filename, file.sha256)
            if problem is None:
                proven.append(file)
            else:
                self._refused["provenance"] += 1
                _log.warning("%s: %s: %s", redact(self.remote.url), file.filename, problem)
        return tuple(proven)

    def _file(
        self, project: str, file: PageFile, beside: Mapping[str, Fetched]
    ) -> DeclarativeContent:
        digests = {name: getattr(file, name) for name in DIGESTS if getattr(file, name)}
        path = path_of(project, file.filename)
        artifacts = [self._artifact(path, file.url, Artifact(size=file.size, **digests))]
        if file.metadata and self.options.core_metadata:
            metadata = Artifact(sha256=file.metadata)
            artifacts.append(self._artifact(f"{path}.metadata", f"{file.url}.metadata", metadata))
        for what, brought in beside.items():
            here = Artifact(file=brought.path, sha256=brought.digests["sha256"])
            artifacts.append(self._artifact(f"{path}{what}", brought.url, here))
        content = PythonFile(
            project=project,
            filename=file.filename,
            version=file.version,
            sha256=file.sha256,
            sha512=file.sha512,
            sha384=file.sha384,
            size=file.size,
            requires_python=file.requires_python,
            upload_time=file.upload_time,
            yanked=file.yanked,
            metadata_sha256=_sha256_of(file.metadata or None, beside.get(".metadata")),
            provenance_sha256=_sha256_of(None, beside.get(".provenance")),
        )
        return DeclarativeContent(content, artifacts)

    def _artifact(self, path: str, url: str, artifact: Artifact) -> DeclarativeArtifact:
        return DeclarativeArtifact(
            artifact,
            url=url,
            relative_path=path,
            remote=self.remote,
            deferred_download=self.remote.deferred and artifact.file is None,
        )

    def _note_stale(self, page: int | None, listed: int | None) -> bool:
        """Say whether a page is older than the list says, and see to it that it is asked again."""
        is_stale = listed is not None and page is not None and page < listed
        self._stale = self._stale or is_stale
        return is_stale

    def _note_due(self, due: str | None) -> None:
        if due is not None:
            moment = datetime.fromisoformat(due)
            self._due = moment if self._due is None else min(self._due, moment)

    def _tell_refused(self) -> None:
        for rule, count in sorted(self._refused.items()):
            _log.info("%s: %d left out by `%s`", redact(self.remote.url), count, rule)


def _chosen(
    listed: _Listed,
    serial: int | None,
    rules: Selection,
    tokens: Mapping[str, _Token],
) -> Choice:
    """Choose of the projects of a list: by what the last sync saw of them."""
    asked: dict[str, int | None] = {}
    kept: list[str] = []
    dues: list[str] = []
    for name, new in listed:
        if rules.refusal_of_project(name) is not None:
            continue
        token = tokens.get(name, {})
        if new is not None and token.get("serial") == new and not _is_due(token, rules.now):
            kept.append(name)
            if token.get("due") is not None:
                dues.append(token["due"])
        else:
            asked[name] = new
    taken = {*asked, *kept}
    gone = [name for name in tokens if name not in taken]
    due = min(dues, key=datetime.fromisoformat, default=None)
    return Choice(asked=asked, kept=kept, gone=gone, serial=serial, due=due)


def _is_due(seen: Mapping[str, Any], now: datetime) -> bool:
    due = seen.get("due")
    return due is not None and datetime.fromisoformat(due) <= now


async def _asked(index: Index, name: str, token: _Token) -> Fetched | Exception | None:
    """Return the page of a project, or why it cannot be had: others are not to end with it."""
    try:
        return await index.ask(name, token)
    except (TransferError, IntegrityError) as error:
        return error


def _files_of(answer: Answer) -> tuple[PageFile, ...]:
    return () if answer.page.status == "quarantined" else answer.selected.files


def _sha256_of(told: str | None, brought: Fetched | None) -> str | None:
    return told if brought is None else brought.digests["sha256"]


def _remove(found: Fetched) -> None:
    if found.path is not None:
        os.unlink(found.path)
