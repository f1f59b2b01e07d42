"""The first stage of the deb source: brings the suites, reads their indexes, and declares what they
list.

Nothing is declared before every index was read to its end once: an error in the last paragraph
leaves nothing behind.
"""

import asyncio
import logging
from collections.abc import Iterator, Sequence
from typing import Any, Final

from flowsync import (
    Artifact,
    DeclarativeArtifact,
    DeclarativeContent,
    MetadataError,
    Remote,
    Stage,
    UpstreamUnchanged,
    redact,
)
from flowsync.sources.deb.choice import Index
from flowsync.sources.deb.content import DebFile, DebIndex, DebPackage, DebRelease, DebSource
from flowsync.sources.deb.options import DebOptions
from flowsync.sources.deb.paragraphs import ListedFile
from flowsync.sources.deb.reading import Contradictions, Survey, listed_files, sha256_of, survey
from flowsync.sources.deb.release import Listed
from flowsync.sources.deb.rounds import PAUSES
from flowsync.sources.deb.suites import Brought, Suite, Suites, Unchanged

_ENDED: Final = None

_log = logging.getLogger(__name__)


class DebFirstStage(Stage):
    """Declares the suites of `remote`, whose URL is the root of an archive, as the options say.

    `pauses` are the seconds before each look at a suite that is amid a switch.

    Raises `MetadataError` when a suite cannot be believed, was never whole, or lists what cannot be
    understood; and `UpstreamUnchanged` when no suite changed since the last sync, and that sync did
    all that this one would.
    """

    def __init__(
        self, remote: Remote, options: DebOptions, *, pauses: Sequence[float] = PAUSES
    ) -> None:
        self.remote = remote
        self.options = options
        self.pauses = pauses

    async def run(self) -> None:
        """Bring the suites, and put what they list."""
        before = await self.context.upstream.recall(self.remote) or {}
        bringing = Suites(self.context, self.remote, self.options, before, self.pauses)
        with self.meter("sync.downloading.metadata", "Downloading Metadata") as meter:
            looked = [(suite, await bringing.look(suite)) for suite in self.options.suites]
            meter.advance(len(looked))
        if before and all(isinstance(found, Unchanged) for _, found in looked):
            raise UpstreamUnchanged(redact(bringing.root))
        suites: list[Suite] = []
        seen: dict[str, Any] = {}
        with meter:
            for name, found in looked:
                suite, seen[name] = await bringing.bring(name, found)
                suites.append(suite)
                meter.advance(len(suite.indexes))
        await self._declare(bringing, suites)
        self.context.upstream.remember(self.remote, seen)

    async def _declare(self, bringing: Suites, suites: Sequence[Suite]) -> None:
        found = Survey()
        plain = {}
        for suite in suites:
            for index, brought in suite.indexes:
                if index.reads and brought:
                    where = f"{suite.folder}{brought[0].listed.path}"
                    plain[where] = await self._survey(bringing, where, index, brought[0], found)
        contradictions = Contradictions(found.contradicting())
        self.meter("sync.downloading.artifacts", "Downloading Artifacts", found.count)
        for suite in suites:
            taken: set[str] = set()
            for index, brought in suite.indexes:
                await self._put_index(bringing, suite, index, brought, taken)
                if index.reads and brought:
                    where = f"{suite.folder}{brought[0].listed.path}"
                    folder = f"{suite.folder}{index.folder}" if index.kind == "installer" else ""
                    await self._put_files(
                        bringing, where, plain[where], index, folder, contradictions
                    )
            await self._put_release(bringing, suite)

    async def _survey(
        self, bringing: Suites, where: str, index: Index, read: Brought, found: Survey
    ) -> str:
        """Read an index to its end; return the file that has it unpacked."""
        plain = f"{read.path}.plain"
        stem = next((each for each in index.variants if each.path == index.stem), None)
        limit = None if stem is None else stem.size
        try:
            one = await asyncio.to_thread(survey, read.path, read.listed.path, plain, index, limit)
        except MetadataError as error:
            raise MetadataError(f"{redact(bringing.url(where))}: {error}") from None
        found.join(one)
        return plain

    async def _put_files(
        self,
        bringing: Suites,
        where: str,
        plain: str,
        index: Index,
        folder: str,
        contradictions: Contradictions,
    ) -> None:
        blocks = listed_files(plain, index.reads)
        with self.meter("sync.parsing.metadata", "Parsing Metadata") as meter:
            while (block := await asyncio.to_thread(next, blocks, _ENDED)) is not _ENDED:
                _, files = block
                declared = [
                    self._file(bringing, file, index, folder)
                    for file in files
                    if self._is_first(contradictions, file, where)
                ]
                meter.advance(len(files))
                await self.put_all(declared)

    def _is_first(self, contradictions: Contradictions, file: ListedFile, where: str) -> bool:
        """Say whether no other file was listed at a path before. Raise `MetadataError` when one
        was, unless the sync goes on without what cannot be had.
        """
        other = contradictions.first(file, f"paragraph {file.number} of {where}")
        if other is None:
            return True
        said = (
            f"paragraph {file.number} of {where} lists {file.path!r} with another digest than "
            f"{other}"
        )
        if self.context.on_error == "fail":
            raise MetadataError(said)
        _log.warning("%s: %s; the first is taken", redact(self.remote.url), said)
        return False

    def _file(
        self, bringing: Suites, file: ListedFile, index: Index, folder: str
    ) -> DeclarativeContent:
        path, key = f"{folder}{file.path}", _key(file.digests)
        if index.kind == "installer":
            content: DebPackage | DebSource | DebFile = DebFile(path, key)
        elif index.reads == "sources":
            content = DebSource(path, key, file.package, file.version)
        else:
            content = DebPackage(path, key, file.package, file.version, file.architecture)
        size = None if file.size < 0 else file.size
        artifact = DeclarativeArtifact(
            Artifact(size=size, **file.digests),
            url=bringing.url(path),
            relative_path=path,
            remote=self.remote,
            deferred_download=self.remote.deferred,
        )
        return DeclarativeContent(content, [artifact], line=file.number)

    async def _put_index(
        self,
        bringing: Suites,
        suite: Suite,
        index: Index,
        brought: Sequence[Brought],
        taken: set[str],
    ) -> None:
        """Put an index in each packing that is here, and in those that may be asked for later."""
        here = {each.listed.path: each.path for each in brought}
        for listed in index.variants:
            later = self.remote.deferred and (listed.path != index.stem or len(index.variants) == 1)
            if listed.path not in here and not later:
                continue
            names = [name for name in suite.names(listed) if name not in taken]
            taken.update(names)
            path = f"{suite.folder}{listed.path}"
            urls = [bringing.url(name) for name in _by_digest_first(suite.names(listed))]
            await self.put(
                DeclarativeContent(
                    DebIndex(path, _key(listed.digests), suite.name),
                    list(self._artifacts(listed, here.get(listed.path), names, urls)),
                )
            )

    def _artifacts(
        self, listed: Listed, file: str | None, names: Sequence[str], urls: Sequence[str]
    ) -> Iterator[DeclarativeArtifact]:
        strong = {name: listed.digests[name] for name in _STRONG if name in listed.digests}
        for name in names:
            yield DeclarativeArtifact(
                Artifact(size=listed.size, file=file, **strong),
                urls=urls,
                relative_path=name,
                remote=self.remote,
                deferred_download=file is None,
            )

    async def _put_release(self, bringing: Suites, suite: Suite) -> None:
        believed = suite.believed
        digests = {
            name: await asyncio.to_thread(_sha256, path) for name, path in suite.files.items()
        }
        date, ends = believed.release.date, believed.release.valid_until
        content = DebRelease(
            suite=suite.name,
            in_release=digests.get("InRelease", ""),
            release=digests.get("Release", ""),
            signature=digests.get("Release.gpg", ""),
            signer=believed.signer,
            date="" if date is None else date.isoformat(),
            valid_until="" if ends is None else ends.isoformat(),
        )
        artifacts = [
            DeclarativeArtifact(
                Artifact(file=path, sha256=digests[name]),
                url=bringing.url(f"{suite.folder}{name}"),
                relative_path=f"{suite.folder}{name}",
                remote=self.remote,
            )
            for name, path in suite.files.items()
        ]
        await self.put(DeclarativeContent(content, artifacts))


_STRONG: Final = ("sha512", "sha256")


def _key(digests: Any) -> str:
    """Return what stands for bytes in a unit's key."""
    return digests["sha256"] if "sha256" in digests else f"sha512:{digests['sha512']}"


def _by_digest_first(names: Sequence[str]) -> list[str]:
    """Return the paths of an index as they are asked for: amid a switch, the digest is right."""
    digests = [name for name in names[1:] if "/by-hash/SHA256/" in f"/{name}"] or names[1:2]
    return [*digests, names[0]]


def _sha256(path: str) -> str:
    with open(path, "rb") as file:
        return sha256_of(file.read())
