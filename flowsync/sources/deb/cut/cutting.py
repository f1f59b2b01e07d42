"""Cuts suites down to what the options keep, and makes the mirror's own indexes of it. Blocks the
caller, so it belongs in a thread.

What is kept is judged again each time that an index is read: only names and versions are in memory,
and those only where a rule compares packages.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec

from flowsync.packages.openpgp import SigningKey
from flowsync.sources.deb.cut.closure import Place
from flowsync.sources.deb.cut.filters import Selection, facts_of
from flowsync.sources.deb.cut.rendering import (
    RenderedFile,
    RenderedRelease,
    release_date,
    render_index,
    render_release,
    sign_release,
)
from flowsync.sources.deb.indexes.choice import Index
from flowsync.sources.deb.indexes.paragraphs import ListedFile, Paragraph
from flowsync.sources.deb.indexes.reading import listed_files
from flowsync.sources.deb.options import DebOptions
from flowsync.sources.deb.suites import Suite

_CUT: Final = frozenset({"packages", "sources"})


class RenderedSuite(msgspec.Struct, frozen=True, kw_only=True):
    """A suite that the mirror has made: its list in its forms, the date of it, and its indexes."""

    release: RenderedRelease
    date: datetime
    files: Sequence[RenderedFile]


class Cut:
    """What the options of a sync keep of its suites."""

    def __init__(self, options: DebOptions) -> None:
        self._options = options
        self._key = None if options.sign is None else SigningKey.read(options.sign)
        self._selections = {
            kind: Selection.of(options, binary=kind != "sources")
            for kind in ("packages", "udebs", "sources")
        }
        self.left_out: dict[str, int] = {}
        """How many packages each rule left out, by the name of the rule."""

    @property
    def public_key(self) -> bytes | None:
        """The certificate of the mirror's key, armoured."""
        return None if self._key is None else self._key.public_key

    @property
    def needs_survey(self) -> bool:
        """Whether all indexes must be seen before one is cut."""
        return any(each.needs_survey for each in self._selections.values())

    def see(self, suite: Suite, index: Index, plain: str) -> None:
        """Take an index into the survey."""
        if index.reads in _CUT:
            selection, place = self._selections[index.kind], _place(suite, index)
            for some, _ in listed_files(plain, index.reads):
                for number, text in some:
                    selection.see(place, facts_of(number, text))

    def kept(
        self, suite: Suite, index: Index, plain: str, *, counts: bool = False
    ) -> Iterator[tuple[list[Paragraph], list[ListedFile]]]:
        """Yield the paragraphs that are kept, some at a time, with their files. With `counts`, note
        what each rule leaves out.
        """
        if index.reads not in _CUT:
            yield from listed_files(plain, index.reads)
            return
        selection, place = self._selections[index.kind], _place(suite, index)

        def keeps(paragraph: Paragraph) -> bool:
            verdict = selection.judge(place, facts_of(*paragraph))
            if counts and not verdict.kept:
                self.left_out[verdict.rule] = self.left_out.get(verdict.rule, 0) + 1
            return verdict.kept

        yield from listed_files(plain, index.reads, keeps)

    def render(
        self,
        suite: Suite,
        plain: dict[str, str],
        folder: str,
        is_missing: Callable[[ListedFile], bool],
        before: datetime | None,
    ) -> RenderedSuite:
        """Make the indexes of a suite in a folder. `plain` has upstream's, unpacked, by their path
        below the suite; `is_missing` says which files are not here; `before` is the date of the
        mirror's last list.
        """
        files: list[RenderedFile] = []
        here: list[Index] = []
        for index, brought in suite.indexes:
            if index.stem in plain and index.reads in _CUT:
                paragraphs = self._present(suite, index, plain[index.stem], is_missing)
                files += render_index(paragraphs, index.stem, folder)
            else:
                files += [
                    RenderedFile(
                        path=each.listed.path,
                        size=each.listed.size,
                        sha256=each.sha256,
                        file=each.path,
                    )
                    for each in brought
                ]
            if brought:
                here.append(index)
        now = datetime.now(UTC)
        validity = self._options.validity
        upstream = suite.believed.release.date or now.replace(minute=0, second=0, microsecond=0)
        date = release_date(upstream, before, now=now, valid_for=validity)
        text = render_release(
            suite.believed.release.fields,
            files,
            components=sorted({each.component for each in here if each.component}),
            architectures=sorted({each.architecture for each in here if each.architecture}),
            date=date,
            valid_for=validity,
        )
        return RenderedSuite(release=sign_release(text, self._key), date=date, files=files)

    def _present(
        self, suite: Suite, index: Index, plain: str, is_missing: Callable[[ListedFile], bool]
    ) -> Iterator[Paragraph]:
        """Yield the paragraphs that are kept and all of whose files are there."""
        for some, files in self.kept(suite, index, plain):
            lacking = {file.number for file in files if is_missing(file)}
            for paragraph in some:
                if paragraph.number not in lacking:
                    yield paragraph


def _place(suite: Suite, index: Index) -> Place:
    return Place(suite.name, "" if index.kind == "sources" else index.architecture)
