"""Options of a kind of source: in the file, on the command line, in a plan, and listed."""

import hashlib
import json
from pathlib import Path

import pytest

from tests.system.command import CommandLine
from tests.system.publishing import install
from tests.upstream.server import Upstream

PLUGIN = '''
import json
from typing import Annotated

import msgspec
from flowsync import (
    Artifact, Content, DeclarativeArtifact, DeclarativeContent, SourceKind, Stage, UpstreamUnchanged
)


class Book(Content):
    type_name = "book"
    natural_key = ("name", "sha256")
    name: str
    sha256: str


class Options(msgspec.Struct, frozen=True):
    shelf: Annotated[str, msgspec.Meta(description="The shelf to take.")]
    depth: Annotated[int, msgspec.Meta(ge=1)] = 3
    languages: list[str] = []


class Books(Stage):
    """Declares the books of one shelf; remembers the list, and nothing of its options."""

    def __init__(self, remote, options):
        self.remote, self.options = remote, options

    async def run(self):
        before = await self.context.upstream.recall(self.remote)
        fetched = await self.remote.get_downloader(
            url=self.remote.url, folder=self.context.staging
        ).run()
        seen = {"sha256": fetched.digests["sha256"]}
        if seen == before:
            raise UpstreamUnchanged(self.remote.url)
        for name, sha256 in json.load(open(fetched.path)).items():
            if name.startswith(self.options.shelf):
                artifact = DeclarativeArtifact(
                    Artifact(sha256=sha256),
                    url=self.remote.url.rpartition("/")[0] + "/" + name,
                    relative_path=name,
                    remote=self.remote,
                )
                await self.put(DeclarativeContent(Book(name, sha256), [artifact]))
        self.context.upstream.remember(self.remote, seen)


SOURCE = SourceKind(name="books", summary="A list of books.", first_stage=Books, options=Options)
'''


@pytest.fixture
def flowsync(flowsync: CommandLine) -> CommandLine:
    """Give the command line with a kind of source that has options."""
    install(flowsync, "books", PLUGIN)
    return flowsync


@pytest.fixture
def url(upstream: Upstream) -> str:
    """Give the list of two books on two shelves."""
    books = {"maps/north": b"map", "poems/odes": b"poem"}
    for name, text in books.items():
        upstream.put(f"/{name}", text)
    listed = {name: hashlib.sha256(text).hexdigest() for name, text in books.items()}
    return upstream.put("/list", json.dumps(listed).encode())


def paths(flowsync: CommandLine, name: str) -> list[str]:
    shown = flowsync.run("show", name, "--json")
    return [one["relative_path"] for one in shown.objects]


def test_options_decide_what_is_synced_and_others_are_another_sync(
    flowsync: CommandLine, url: str
) -> None:
    books = {
        "source": "books",
        "url": url,
        "options": {"shelf": "maps"},
        "mirror": True,
        "max_removal": 1,
    }
    flowsync.configure(repositories={"b": books})

    first = flowsync.run("sync", "--json")
    same = flowsync.run("sync", "--json", "--set", "depth=3")
    other = flowsync.run("sync", "b", "--json", "--set", "shelf=poems")
    others = paths(flowsync, "b")
    back = flowsync.run("sync", "--json")

    assert [done.status for done in (first, same, other, back)] == [0, 0, 0, 0]
    assert [done.objects[0]["skipped"] for done in (first, same, other, back)] == [
        False,
        True,
        False,
        False,
    ]
    assert others == ["poems/odes"]
    assert paths(flowsync, "b") == ["maps/north"]


def test_a_sync_without_settings_takes_its_options_from_the_command_line(
    flowsync: CommandLine, url: str
) -> None:
    missing = flowsync.run("sync", "books", url, "-r", "b")
    done = flowsync.run("sync", "books", url, "-r", "b", "--set", "shelf=po", "--json")

    assert (missing.status, done.status) == (2, 0)
    assert missing.err == (
        "flowsync: repository 'b': source 'books' needs the option 'shelf' (text)\n"
    )
    assert paths(flowsync, "b") == ["poems/odes"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--set", "depth=0"), "repository 'b': option 'depth' of source 'books' (integer, at"),
        (("--set", "colour=1"), "has no option 'colour'; it has shelf, depth, languages"),
        (("--set", "shelf=a", "--set", "shelf=b"), "option 'shelf' of source 'books' is given"),
        (("--set", "shelf"), "'shelf' is not NAME=VALUE"),
    ],
)
def test_a_wrong_option_of_the_command_line_is_wrong_usage(
    flowsync: CommandLine, url: str, arguments: tuple[str, ...], said: str
) -> None:
    flowsync.configure(
        repositories={"b": {"source": "books", "url": url, "options": {"shelf": "maps"}}}
    )

    done = flowsync.run("sync", *arguments)

    assert (done.status, done.out) == (2, "")
    assert said in done.err
    assert not flowsync.home.exists()


def test_a_wrong_option_of_the_file_is_named_by_every_command(
    flowsync: CommandLine, url: str
) -> None:
    flowsync.configure(repositories={"b": {"source": "books", "url": url, "options": {"shelf": 1}}})
    wrong = flowsync.run("versions", "b")
    flowsync.configure(repositories={"b": {"source": "books", "url": url, "shelve": "maps"}})
    unknown = flowsync.run("sync")

    assert (wrong.status, unknown.status) == (2, 2)
    assert wrong.err == (
        f"flowsync: {flowsync.folder}/flowsync.toml: repository 'b': "
        "option 'shelf' of source 'books' (text): Expected `str`, got `int`\n"
    )
    assert "repository 'b': Object contains unknown field `shelve`; " in unknown.err
    assert "options = { shelve = … }" in unknown.err


def test_a_plan_keeps_the_options_that_it_was_made_with(
    flowsync: CommandLine, url: str, tmp_path: Path
) -> None:
    books = {"source": "books", "url": url, "options": {"shelf": "maps"}}
    flowsync.configure(repositories={"b": books})
    set_poems = ("--set", "shelf=poems")
    plan = str(tmp_path / "plan")

    planned = flowsync.run("plan", "b", *set_poems, "--output", plan)
    both = flowsync.run("sync", "--plan", plan, *set_poems)
    done = flowsync.run("sync", "--plan", plan)
    as_planned = paths(flowsync, "b")
    flowsync.run("plan", "b", "--output", plan)
    flowsync.configure(repositories={"b": {**books, "options": {"shelf": "maps", "depth": 9}}})
    changed = flowsync.run("sync", "--plan", plan)
    flowsync.run("plan", "books", url, "-r", "c", *set_poems, "--output", plan)
    described = flowsync.run("sync", "--plan", plan)

    assert (planned.status, both.status, done.status, described.status) == (0, 2, 0, 0)
    assert as_planned == ["poems/odes"]
    assert changed.status == 2
    assert "repository 'b' was changed since it was planned" in changed.err
    assert paths(flowsync, "c") == ["poems/odes"]


def test_an_alternate_source_is_refreshed_with_its_options(
    flowsync: CommandLine, url: str, upstream: Upstream
) -> None:
    flowsync.configure("[alternate_sources.near]\noptions = { shelf = 'maps' }\n")
    flowsync.run("acs", "add", "near", "books", url)
    flowsync.run("acs", "add", "far", "books", url)

    near = flowsync.run("acs", "refresh", "near", "--json")
    far = flowsync.run("acs", "refresh", "far")

    assert [one["units"] for one in near.objects] == [1]
    assert far.status == 2
    assert "alternate source 'far': source 'books' needs the option 'shelf' (text)" in far.err


def test_sources_lists_kinds_and_the_options_of_one(flowsync: CommandLine) -> None:
    install(flowsync, "broken", "raise ValueError('no licence')")

    listed = flowsync.run("sources")
    objects = flowsync.run("sources", "--json").objects
    one = flowsync.run("sources", "books")
    as_json = flowsync.run("sources", "books", "--json").objects
    plain = flowsync.run("sources", "file")
    broken = flowsync.run("sources", "broken")

    names = [line.split()[0] for line in listed.out.splitlines()]
    assert (listed.status, names) == (0, ["books", "broken", "deb", "file"])
    assert [each["name"] for each in objects] == names
    assert "cannot be loaded: ValueError: no licence" in objects[1]["error"]
    assert one.out == (
        "books: A list of books.\n"
        "  shelf: text; required\n"
        "    The shelf to take.\n"
        "  depth: integer, at least 1; default 3\n"
        "  languages: list of text; default []\n"
    )
    assert as_json == [objects[0]]
    assert objects[0]["options"][1] == {
        "name": "depth",
        "type": "integer, at least 1",
        "required": False,
        "default": 3,
        "help": "",
    }
    assert plain.out.endswith("\n  it has no options\n")
    assert (broken.status, len(broken.err.splitlines())) == (2, 1)
    assert not flowsync.home.exists()
