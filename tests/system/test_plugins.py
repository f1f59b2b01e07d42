"""Kinds of source that other packages bring: found by their entry points, shown in the help, kept
apart when they break.
"""

import signal
from pathlib import Path

import pytest

from tests.system.command import REPOSITORY, CommandLine
from tests.system.publishing import install, publish
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
        remote, url = self.remote, self.remote.url
        if url.endswith("/buggy"):
            raise KeyError("pages")
        artifact = DeclarativeArtifact(Artifact(), url=url, relative_path="page", remote=remote)
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


RAISING = {
    "value": "raise ValueError('no licence')",
    "exit": "import sys; sys.exit('please configure me')",
    "interrupt": "class Own(BaseException): pass\nraise Own",
    "syntax": "def (",
    "escape": "raise RuntimeError('\\x1b[31mred\\nline')",
}


@pytest.mark.parametrize("kind", RAISING)
def test_a_plugin_that_raises_at_import_is_named_and_only_its_kind_is_unusable(
    flowsync: CommandLine, upstream: Upstream, kind: str
) -> None:
    install(flowsync, kind, RAISING[kind])
    good = {"url": publish(upstream, {"a": b"1"})}
    bad = {"source": kind, "url": upstream.url("/x")}
    flowsync.configure(repositories={"good": good, "bad": bad})

    helped = flowsync.run("sync", "--help")
    one = flowsync.run("sync", "bad")
    both = flowsync.run("sync", "--json")
    served = flowsync.start("serve", "--bind", "127.0.0.1:0")
    assert served.process.stdout is not None
    line = served.process.stdout.readline().decode()
    stopped = served.stop(signal.SIGTERM)

    said = f"source {kind!r} cannot be loaded: "
    assert helped.status == 0
    assert said in " ".join(helped.out.split())
    assert (one.status, len(one.err.splitlines())) == (2, 1)
    assert said in one.err
    results = {result["repository"]: result for result in both.objects}
    assert (both.status, results["good"]["version"]) == (1, 1)
    assert said in results["bad"]["error"]
    assert (stopped.status, line.startswith("serving ")) == (0, True)
    warnings = [line for line in stopped.err.splitlines() if f"{kind}_source" in line]
    assert len(warnings) == 1
    assert warnings[0].startswith(f"flowsync: warning: {said}")
    for done in (helped, one, both, stopped):
        assert "Traceback" not in done.err
        assert "\x1b" not in done.out + done.err


def test_a_repository_may_have_the_name_of_a_kind(
    flowsync: CommandLine, upstream: Upstream
) -> None:
    """Installing a plugin makes no settings unusable."""
    tools = {"url": publish(upstream, {"a": b"1"}, "/tools")}
    page = {"url": publish(upstream, {"b": b"2"}, "/page")}
    flowsync.configure(repositories={"tools": tools, "page": page})

    named = flowsync.run("sync", "page", "--json")
    both = flowsync.run("sync", "page", "tools", "--json")
    described = flowsync.run("sync", "file", page["url"], "-r", "file", "--json")

    assert [(one["repository"], one["version"]) for one in named.objects] == [("page", 1)]
    assert {one["repository"]: one["version"] for one in both.objects} == {"page": None, "tools": 1}
    assert [(one["repository"], one["version"]) for one in described.objects] == [("file", 1)]
