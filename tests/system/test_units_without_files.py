"""Units that have no files are part of a version like others: every command that tells of its
content tells of them.
"""

import json
from pathlib import Path

import pytest

from tests.system.command import REPOSITORY, CommandLine
from tests.upstream.server import Upstream

PLUGIN = """
import json
from flowsync import Artifact, Content, DeclarativeArtifact, DeclarativeContent, SourceKind, Stage


class Package(Content):
    type_name = "test.package"
    natural_key = ("name", "version")
    repo_key = ("name",)
    name: str
    version: str


class Packages(Stage):
    def __init__(self, remote):
        self.remote = remote

    async def run(self):
        listed = await self.remote.get_downloader(url=self.remote.url).run()
        with open(listed.path) as file:
            for number, (name, version) in enumerate(json.load(file).items(), 1):
                await self.put(DeclarativeContent(Package(name, version), line=number))
        index = DeclarativeArtifact(Artifact(), self.remote.url, None, "index", self.remote)
        await self.put(DeclarativeContent(Package("index", listed.digests["sha256"]), [index]))


SOURCE = SourceKind(name="packages", summary="A list.", first_stage=Packages)
"""


@pytest.fixture
def flowsync(flowsync: CommandLine, tmp_path: Path) -> CommandLine:
    """Give the command line with a source of packages installed."""
    packages = tmp_path / "packages"
    information = packages / "packages_plugin-1.0.dist-info"
    information.mkdir(parents=True)
    (packages / "packages_plugin.py").write_text(PLUGIN)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: packages\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(
        "[flowsync.sources]\npackages = packages_plugin:SOURCE\n"
    )
    flowsync.environment["PYTHONPATH"] = f"{packages}:{REPOSITORY}"
    return flowsync


def test_units_without_files_are_shown_compared_explained_and_planned(
    flowsync: CommandLine, upstream: Upstream
) -> None:
    url = upstream.put("/list", json.dumps({"a": "1", "b": "1\x1b[31m"}).encode())
    plan = flowsync.run("plan", "packages", url, "-r", "things", "--mirror")
    flowsync.run("sync", "packages", url, "-r", "things", "--mirror")
    upstream.put("/list", json.dumps({"a": "2"}).encode())
    flowsync.run("sync", "packages", url, "-r", "things", "--mirror")

    shown = flowsync.run("show", "things", "1")
    shown_json = flowsync.run("show", "things", "1", "--json").objects
    diff = flowsync.run("diff", "things", "1", "2")
    diff_json = flowsync.run("diff", "things", "1", "2", "--json").objects
    a = next(unit for unit in shown_json if unit.get("fields", {}).get("name") == "a")
    present = flowsync.run("why", "things", a["content_id"], "--version", "1")
    gone = flowsync.run("why", "things", a["content_id"])

    assert "add       3 units, 0 B, 2 of them without files" in plan.out
    assert f'{a["content_id"]}  test.package {{"name":"a","version":"1"}}' in shown.out
    assert "\x1b" not in shown.out
    assert "1 paths, " in shown.out
    assert " and 2 units without files in version 1 of things" in shown.out
    assert (a["type"], a["relative_path"], a["fields"]) == (
        "test.package",
        None,
        {"name": "a", "version": "1"},
    )
    assert '- test.package {"name":"a","version":"1"}' in diff.out
    assert '+ test.package {"name":"a","version":"2"}' in diff.out
    assert diff.out.splitlines()[-1].startswith("1 added, 2 removed, 1 changed")
    assert {
        (change["kind"], (change["before"] or change["after"])["fields"]["version"])
        for change in diff_json
        if change["relative_path"] is None
    } == {("removed", "1"), ("added", "2"), ("removed", "1\x1b[31m")}
    assert 'a unit without files: test.package {"name":"a","version":"1"}' in present.out
    assert "listed in line 1" in present.out
    assert "removed by version 2" in gone.out
