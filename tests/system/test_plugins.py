"""Kinds of source that other packages bring: found by their entry points, shown in the help, kept apart when they break."""

from pathlib import Path

import pytest

from tests.system.command import REPOSITORY, CommandLine
from tests.system.publishing import publish
from tests.upstream.server import Upstream

PLUGIN = """
from flowsync import Artifact, Content, DeclarativeArtifact, DeclarativeContent, SourceKind, Stage


class Page(Content):
    type_name = "page"
    natural_key = ("url",)
    url: str


class OnePage(Stage):
    def __init__(self, remote):
        self.remote = remote

    async def run(self):
        url = self.remote.url
        if url.endswith("/buggy"):
            raise KeyError("pages")
        artifact = DeclarativeArtifact(Artifact(), url=url, relative_path="page", remote=self.remote)
        await self.put(DeclarativeContent(content=Page(url), d_artifacts=[artifact]))


SOURCE = SourceKind(name="page", summary="Any URL: one page.", first_stage=OnePage)
"""

ENTRY_POINTS = """
[flowsync.sources]
page = one_page:SOURCE
broken = missing_module:SOURCE
number = math:pi
"""


@pytest.fixture
def flowsync(flowsync: CommandLine, tmp_path: Path) -> CommandLine:
    """Give the command line with another package installed."""
    packages = tmp_path / "packages"
    information = packages / "one_page-1.0.dist-info"
    information.mkdir(parents=True)
    (packages / "one_page.py").write_text(PLUGIN)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: one-page\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(ENTRY_POINTS)
    flowsync.environment["PYTHONPATH"] = f"{packages}:{REPOSITORY}"
    return flowsync


def test_a_source_of_another_package_is_synced_like_our_own(
    flowsync: CommandLine, upstream: Upstream
) -> None:
    url = upstream.put("/front", b"welcome")

    done = flowsync.run("sync", "page", url, "-r", "front", "--json")
    shown = flowsync.run("show", "front")

    assert done.objects[0]["version"] == 1
    assert shown.out.splitlines()[0].endswith("  page")


def test_help_lists_every_source_and_says_which_cannot_be_loaded(flowsync: CommandLine) -> None:
    done = flowsync.run("sync", "--help")

    assert "\n  page    Any URL: one page.\n" in done.out
    assert "source 'broken' cannot be loaded: No module named 'missing_module'" in done.out
    assert "math:pi is no SourceKind" in done.out


def test_a_source_that_cannot_be_loaded_is_a_wrong_setting(flowsync: CommandLine) -> None:
    done = flowsync.run("sync", "broken", "http://h/", "-r", "files")

    assert done.status == 2
    assert "cannot be loaded: No module named 'missing_module'" in done.err


def test_a_bug_in_one_source_keeps_no_other_repository_from_its_sync(
    flowsync: CommandLine, upstream: Upstream
) -> None:
    flowsync.configure(
        repositories={
            "buggy": {"source": "page", "url": upstream.url("/buggy")},
            "good": {"url": publish(upstream, {"a": b"1"})},
        }
    )

    done = flowsync.run("sync", "--json")

    results = {result["repository"]: result for result in done.objects}
    assert done.status == 1
    assert (results["good"]["version"], results["buggy"]["version"]) == (1, None)
    assert results["buggy"]["error"] == "'pages'"
    assert (
        f"sync of buggy from {upstream.url('/buggy')} failed by a bug: KeyError('pages')"
        in done.err
    )
    assert 'one_page.py", line' in done.err
