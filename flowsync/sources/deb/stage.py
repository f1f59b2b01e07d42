"""The first stage of the deb source: brings the suites, reads their indexes, and declares what they
list.

Nothing is declared before every index was read to its end once: an error in the last paragraph
leaves nothing behind.
"""

import asyncio
import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
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
from flowsync.errors import SettingsError
from flowsync.sources.deb.content import DebFile, DebIndex, DebPackage, DebRelease, DebSource
from flowsync.sources.deb.cut.cutting import Cut, RenderedSuite
from flowsync.sources.deb.indexes.choice import Index, names_of
from flowsync.sources.deb.indexes.paragraphs import KEY, ListedFile, Paragraph
from flowsync.sources.deb.indexes.reading import (
    Contradictions,
    Survey,
    listed_files,
    sha256_of,
    survey,
)
from flowsync.sources.deb.indexes.release import BY_HASH, Listed
from flowsync.sources.deb.options import DebOptions
from flowsync.sources.deb.rounds import PAUSES
from flowsync.sources.deb.suites import Brought, Suite, Suites

Blocks = Iterator[tuple[list[Paragraph], list[ListedFile]]]
"""Paragraphs, some at a time, with the files that they list."""

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
        cut = await self._cut() if self.options.renders else None
        before = await self.context.upstream.recall(self.remote) or {}
        known = self.context.upstream.last_seen(self.remote)
        bringing = Suites(self.context, self.remote, self.options, before, known, self.pauses)
        with self.meter("sync.downloading.metadata", "Downloading Metadata") as meter:
            looked = [(suite, await bringing.look(suite)) for suite in self.options.suites]
            meter.advance(len(looked))
        is_same = before and all(look.seen for _, look in looked)
        if is_same and not self._renewal_is_due(before):
            raise UpstreamUnchanged(redact(bringing.root))
        suites: list[Suite] = []
        seen: dict[str, Any] = {}
        with meter:
            for name, look in looked:
                suite, seen[name] = await bringing.bring(name, look)
                suites.append(suite)
                meter.advance(len(suite.indexes))
        plain, contradictions = await self._survey_all(bringing, suites)
        if cut is not None:
            dates = await self._declare_cut(cut, bringing, suites, plain, contradictions, known)
            for name, date in dates.items():
                seen[name]["rendered"] = date.isoformat()
        else:
            await self._declare(bringing, suites, plain, contradictions)
        self.context.upstream.remember(self.remote, seen)

    def _renewal_is_due(self, before: Mapping[str, Any]) -> bool:
        """Say whether half of the time is over for which the mirror's own lists are valid."""
        validity = self.options.validity
        if validity is None:
            return False
        dates = [seen["rendered"] for seen in before.values() if "rendered" in seen]
        due = datetime.now(UTC) - validity / 2
        return any(datetime.fromisoformat(date) <= due for date in dates)

    async def _declare(
        self,
        bringing: Suites,
        suites: Sequence[Suite],
        plain: Mapping[str, str],
        contradictions: Contradictions,
    ) -> None:
        """Put what upstream has, as it is."""
        for suite in suites:
            taken: set[str] = set()
            for index, brought in suite.indexes:
                await self._put_index(bringing, suite, index, brought, taken)
                where = f"{suite.folder}{index.stem}"
                if where in plain:
                    blocks = listed_files(plain[where], index.reads)
                    await self._put_files(bringing, suite, index, blocks, contradictions)
            await self._put_release(bringing, suite)

    async def _cut(self) -> Cut:
        """Return what the options keep. Raise `SettingsError` when the sync cannot keep just
        that, or there is no such key.
        """
        if not self.context.mirror:
            raise SettingsError(
                "filters and 'sign' need a mirror: what was left out could not be listed; add "
                "--mirror"
            )
        return await asyncio.to_thread(Cut, self.options)

    async def _declare_cut(
        self,
        cut: Cut,
        bringing: Suites,
        suites: Sequence[Suite],
        plain: Mapping[str, str],
        contradictions: Contradictions,
        known: Mapping[str, Any],
    ) -> dict[str, datetime]:
        """Put what the options keep, then the mirror's own indexes of what could be had. Return the
        dates of these.
        """
        reads = [
            (suite, index, plain[where])
            for suite in suites
            for index, _ in suite.indexes
            if (where := f"{suite.folder}{index.stem}") in plain
        ]
        if cut.needs_survey:
            for read in reads:
                await asyncio.to_thread(cut.see, *read)
        async with self.settling() as settled:
            for suite, index, file in reads:
                blocks = cut.kept(suite, index, file, counts=True)
                await self._put_files(bringing, suite, index, blocks, contradictions)
        missing = {each.relative_path for item in settled.left_out for each in item.d_artifacts}

        def is_missing(file: ListedFile) -> bool:
            return file.path in missing or contradictions.first(file, "") is not None

        dates: dict[str, datetime] = {}
        for suite in suites:
            own = {
                index.stem: plain[where]
                for index, _ in suite.indexes
                if (where := f"{suite.folder}{index.stem}") in plain
            }
            date = known.get(suite.name, {}).get("rendered")
            rendered = await asyncio.to_thread(
                cut.render,
                suite,
                own,
                self.context.staging,
                is_missing,
                None if date is None else datetime.fromisoformat(date),
            )
            dates[suite.name] = rendered.date
            await self._put_rendered(suite, rendered)
        if cut.public_key is not None:
            await self.put(await asyncio.to_thread(self._key_file, cut.public_key))
        return dates

    async def _survey_all(
        self, bringing: Suites, suites: Sequence[Suite]
    ) -> tuple[dict[str, str], Contradictions]:
        """Read every index to its end. Return the files that have them unpacked, by their paths
        below the archive's root without a packing.
        """
        found = Survey()
        plain = {}
        for suite in suites:
            for index, brought in suite.indexes:
                if index.reads and brought:
                    where = f"{suite.folder}{brought[0].listed.path}"
                    file = await self._survey(bringing, where, index, brought[0], found)
                    plain[f"{suite.folder}{index.stem}"] = file
        self.meter("sync.downloading.artifacts", "Downloading Artifacts", found.count)
        return plain, Contradictions(await asyncio.to_thread(found.contradicting))

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
        suite: Suite,
        index: Index,
        blocks: Blocks,
        contradictions: Contradictions,
    ) -> None:
        where = f"{suite.folder}{index.stem}"
        folder = f"{suite.folder}{index.folder}" if index.kind == "installer" else ""
        with self.meter("sync.parsing.metadata", "Parsing Metadata") as meter:
            while (block := await asyncio.to_thread(next, blocks, None)) is not None:
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
        # Upstream's list names it also where it cannot be had; one of the mirror's own does not.
        stays = not self.options.renders
        return DeclarativeContent(content, [artifact], stays=stays)

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

    async def _put_rendered(self, suite: Suite, rendered: RenderedSuite) -> None:
        """Put the indexes that the mirror made of a suite, and its list of them."""
        taken: set[str] = set()
        for file in rendered.files:
            if file.file is not None:
                listed = Listed(file.path, file.size, {"sha256": file.sha256})
                names = names_of(suite.folder, listed, {"sha256": BY_HASH["sha256"]})
                own = [name for name in names if name not in taken]
                taken.update(own)
                artifact = Artifact(file=file.file, sha256=file.sha256, size=file.size)
                await self.put(
                    DeclarativeContent(
                        DebIndex(f"{suite.folder}{file.path}", file.sha256, suite.name),
                        [DeclarativeArtifact(artifact, relative_path=name) for name in own],
                    )
                )
        release, validity = rendered.release, self.options.validity
        bodies = {
            "InRelease": release.in_release,
            "Release": release.text,
            "Release.gpg": release.signature,
        }
        files = await asyncio.to_thread(
            _write_all,
            {name: body for name, body in bodies.items() if body is not None},
            self.context.staging,
        )
        content = DebRelease(
            suite=suite.name,
            text=release.text_sha256,
            signer=release.signer,
            date=rendered.date.isoformat(),
            valid_until="" if validity is None else (rendered.date + validity).isoformat(),
        )
        artifacts = [
            DeclarativeArtifact(Artifact(file=path), relative_path=f"{suite.folder}{name}")
            for name, path in files.items()
        ]
        await self.put(DeclarativeContent(content, artifacts))

    def _key_file(self, public_key: bytes) -> DeclarativeContent:
        """Return the unit of the mirror's certificate."""
        (path,) = _write_all({KEY: public_key}, self.context.staging).values()
        sha256 = sha256_of(public_key)
        artifact = Artifact(file=path, sha256=sha256, size=len(public_key))
        return DeclarativeContent(
            DebFile(KEY, sha256), [DeclarativeArtifact(artifact, relative_path=KEY)]
        )


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


def _write_all(bodies: Mapping[str, bytes], folder: str) -> dict[str, str]:
    """Write bodies to fresh files, and return these by name."""
    written = {}
    for name, body in bodies.items():
        descriptor, written[name] = tempfile.mkstemp(dir=folder)
        with open(descriptor, "wb") as file:
            file.write(body)
    return written
