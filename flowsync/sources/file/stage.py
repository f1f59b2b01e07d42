"""The first stage of the file source: fetches the manifest and declares a unit for each of its
lines.

One conditional request finds out whether there is anything to do, where upstream's entity tags
prove it. Otherwise, as from a folder (`file://`), the manifest is fetched and its digest compared.
It is read from disk in blocks of lines, so that a million lines never sit in memory as objects.
"""

import asyncio
from typing import Any

from flowsync import (
    Artifact,
    DeclarativeArtifact,
    DeclarativeContent,
    Fetched,
    MetadataError,
    Remote,
    Stage,
    UpstreamUnchanged,
    Validators,
    redact,
)
from flowsync.sources.file.content import FileContent
from flowsync.sources.file.manifest import (
    ManifestEntry,
    artifact_url,
    blocks,
    folder_url,
    manifest_url,
    parse_lines,
    survey,
)


class FileFirstStage(Stage):
    """Declares the files of `remote`, whose URL names a `PULP_MANIFEST`, or with a slash at its end
    the folder that holds one.

    A manifest may come by a redirect, also from another host, as from a mirror of upstream's
    choice. Its files are fetched from beside the URL that was given, wherever the manifest came
    from, so that upstream's own host decides about each of them.

    Raises `MetadataError` with number and text of a line that cannot be understood, or with the
    numbers of two that contradict each other, before anything is declared; and `UpstreamUnchanged`
    when the manifest is the one of the last sync and that sync did all that this one would.
    """

    def __init__(self, remote: Remote) -> None:
        self.remote = remote

    async def run(self) -> None:
        """Fetch the manifest and put its files."""
        url = manifest_url(self.remote.url)
        manifest = await self._fetch(url)
        assert manifest.path is not None
        try:
            await self._declare(url, manifest.path)
        except MetadataError as error:
            raise MetadataError(f"{redact(url)}: {error}") from None
        self.context.upstream.remember(self.remote, _remember(manifest))

    async def _fetch(self, url: str) -> Fetched:
        before = await self.context.upstream.recall(self.remote) or {}
        tag = before.get("etag")
        tag = tag if isinstance(tag, str) else None
        with self.meter("sync.downloading.metadata", "Downloading Metadata") as meter:
            manifest = await self._ask(url, tag)
            if manifest.not_modified and not (tag is not None and manifest.confirms(tag)):
                manifest = await self._ask(url, None)
            meter.advance(1, manifest.size)
        if manifest.not_modified or manifest.digests["sha256"] == before.get("sha256"):
            raise UpstreamUnchanged(redact(url))
        return manifest

    async def _ask(self, url: str, tag: str | None) -> Fetched:
        return await self.remote.get_downloader(
            url=url,
            validators=None if tag is None else Validators(tag),
            compressed=True,
            folder=self.context.staging,
        ).run()

    async def _declare(self, url: str, path: str) -> None:
        lines_total = await asyncio.to_thread(survey, path)
        downloads = self.meter("sync.downloading.artifacts", "Downloading Artifacts", lines_total)
        self.meter("associating.content", "Associating Content", lines_total)
        entries = 0
        with self.meter("sync.parsing.metadata", "Parsing Metadata", lines_total) as meter:
            folder, remaining = folder_url(url), blocks(path)
            while lines := await asyncio.to_thread(next, remaining, None):
                declared = [
                    self._declaration(folder, entry, number)
                    for number, entry in parse_lines(lines, meter.done + 1)
                ]
                entries += len(declared)
                meter.advance(len(lines))
                await self.put_all(declared)
        # Comments and blank lines were counted as files until here.
        downloads.total = max(0, (downloads.total or 0) - (lines_total - entries))
        self.meter("associating.content", "Associating Content", entries)

    def _declaration(self, folder: str, entry: ManifestEntry, line: int) -> DeclarativeContent:
        artifact = DeclarativeArtifact(
            artifact=Artifact(size=entry.size, sha256=entry.sha256),
            url=artifact_url(folder, entry.relative_path),
            relative_path=entry.relative_path,
            remote=self.remote,
            deferred_download=self.remote.deferred,
        )
        content = FileContent(relative_path=entry.relative_path, sha256=entry.sha256)
        return DeclarativeContent(content=content, d_artifacts=[artifact], line=line)


def _remember(manifest: Fetched) -> dict[str, Any]:
    return {
        "sha256": manifest.digests["sha256"],
        # A file is read as fast as asked for, and its own tag is made of date and size.
        "etag": None if manifest.url[:5].lower() == "file:" else manifest.proof,
    }
