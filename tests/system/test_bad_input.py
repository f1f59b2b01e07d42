"""Everything that upstream can get wrong, each in a repository of its own, and a good repository
among them.

`flowsync sync` is called once for all of them; then upstream is mended and it is called again. Each
test looks at its own repository.
"""

import hashlib
import socket
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from tests.system.command import CommandLine, Done
from tests.system.publishing import manifest_of, publish
from tests.system.records import expect_whole, staged, versions
from tests.upstream.behaviours import Corrupt, Cut, Drop, Good, Status
from tests.upstream.server import Upstream

# What the line of the error says besides repository and URL: what it was done to, and what was
# found.
SAID = {
    "unreachable": ["http://127.0.0.1:", "/PULP_MANIFEST: ", "Connect call failed"],
    "missing": ["/missing/PULP_MANIFEST: ", "status 404"],
    "broken-manifest": ["/broken-manifest/PULP_MANIFEST: ", "broke off after 40 bytes"],
    "half-manifest": ["/half-manifest/PULP_MANIFEST: ", "manifest line 2", "'sub/two.txt,fc46'"],
    "bad-line": ["/bad-line/PULP_MANIFEST: ", "manifest line 3", "'this is no manifest line'"],
    "escaping": ["/escaping/PULP_MANIFEST: ", "manifest line 1", "contains '..'", "'../one.txt,"],
    "wrong-digest": [
        "/wrong-digest/one.txt: ",
        "sha256 is ",
        "expected f7df24870f2aec62b5b9f6be24b04361",
    ],
    "wrong-size": ["/wrong-size/one.txt: ", "size is 17 bytes, expected 18"],
    "short-body": ["/short-body/one.txt: ", "broke off after 2 bytes"],
    "long-body": ["/long-body/one.txt: ", "size is 17 bytes, expected 16"],
    "server-error": ["/server-error/one.txt: ", "status 503"],
    "dropped": ["/dropped/one.txt: ", "disconnected before its answer"],
    "unknown-scheme": ["gopher://example.org/", "scheme 'gopher' is none of", "http"],
    "nested": ["'nested'", "'a/b'", "'a/b/c'"],
    "twice": ["/twice/PULP_MANIFEST: ", "lines 1 and 2 contradict each other", "'same.txt'"],
}

# Told by its manifest alone: its files are not there.
LAZY = {"nested"}


class Story(msgspec.Struct, frozen=True, kw_only=True):
    """What came of the two calls, and which versions there were after the first."""

    bad: Done
    mended: Done
    versions: Mapping[str, list[tuple[int, bool]]]

    def result(self, name: str) -> Mapping[str, Any]:
        (found,) = [found for found in self.bad.objects if found["repository"] == name]
        return found

    def later_result(self, name: str) -> Mapping[str, Any]:
        (found,) = [found for found in self.mended.objects if found["repository"] == name]
        return found


@pytest.fixture(scope="module")
def flowsync(tmp_path_factory: pytest.TempPathFactory, shared_conninfo: str) -> CommandLine:
    return CommandLine(tmp_path_factory.mktemp("bad-input"), database_url=shared_conninfo)


@pytest.fixture(scope="module")
def story(flowsync: CommandLine, shared_upstream: Upstream, shared_conninfo: str) -> Story:
    names = [*SAID, "good"]
    urls = {name: publish(shared_upstream, files_of(name), f"/{name}") for name in names}

    configure(flowsync, urls | elsewhere())
    spoil(shared_upstream)
    bad = flowsync.run("sync", "--json")
    seen = {name: versions(shared_conninfo, name) for name in names}
    expect_whole(shared_conninfo, flowsync.home)

    configure(flowsync, urls)
    mend(shared_upstream, names)
    mended = flowsync.run("sync", "--json")
    return Story(bad=bad, mended=mended, versions=seen)


def files_of(name: str) -> dict[str, bytes]:
    return {"one.txt": f"one of {name}".encode(), "sub/two.txt": f"two of {name}".encode()}


def line(path: str, body: str, size: int | None = None) -> bytes:
    sha256 = hashlib.sha256(body.encode()).hexdigest()
    return f"{path},{sha256},{len(body) if size is None else size}\n".encode()


def configure(flowsync: CommandLine, urls: Mapping[str, str]) -> None:
    repositories = {
        name: {"url": url, "policy": "on_demand" if name in LAZY else "immediate"}
        for name, url in urls.items()
    }
    flowsync.configure(repositories=repositories)


def elsewhere() -> dict[str, str]:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    return {
        "unreachable": f"http://127.0.0.1:{port}/PULP_MANIFEST",
        "unknown-scheme": "gopher://example.org/PULP_MANIFEST",
    }


def spoil(upstream: Upstream) -> None:
    whole = manifest_of(files_of("half-manifest"))
    upstream.always("/missing/PULP_MANIFEST", Status(404))
    upstream.always("/broken-manifest/PULP_MANIFEST", Cut(40))
    upstream.put("/half-manifest/PULP_MANIFEST", whole[: whole.index(b"two.txt,") + 12])
    upstream.put("/bad-line/PULP_MANIFEST", b"# fine\n\nthis is no manifest line\n")
    upstream.put("/escaping/PULP_MANIFEST", line("../one.txt", "one"))
    upstream.always("/wrong-digest/one.txt", Corrupt())
    upstream.put("/wrong-size/PULP_MANIFEST", line("one.txt", "one of wrong-size", 18))
    upstream.always("/short-body/one.txt", Cut(2))
    upstream.put("/long-body/one.txt", b"one of long-body!")
    upstream.always("/server-error/one.txt", Status(503))
    upstream.always("/dropped/one.txt", Drop())
    upstream.put("/nested/PULP_MANIFEST", line("a/b", "nested") + line("a/b/c", "nester"))
    upstream.put("/twice/PULP_MANIFEST", line("same.txt", "once") + line("same.txt", "twice"))


def mend(upstream: Upstream, names: list[str]) -> None:
    for name in names:
        publish(upstream, files_of(name), f"/{name}")
        for path in ("PULP_MANIFEST", "one.txt"):
            upstream.always(f"/{name}/{path}", Good())


@pytest.mark.parametrize("name", SAID)
def test_a_failure_is_one_line_that_says_what_was_done_to_what_and_what_was_found(
    story: Story, name: str
) -> None:
    complaints = [line for line in story.bad.complaints if f"sync of {name} from" in line]

    assert len(complaints) == 1
    for part in SAID[name]:
        assert part in complaints[0]
    assert story.result(name)["error"] in complaints[0]


@pytest.mark.parametrize("name", SAID)
def test_a_failure_makes_no_version(story: Story, name: str) -> None:
    result = story.result(name)

    assert (result["version"], result["added"], result["removed"]) == (None, 0, 0)
    assert story.versions[name] == []


@pytest.mark.parametrize("name", SAID)
def test_the_next_good_run_succeeds(story: Story, name: str) -> None:
    result = story.later_result(name)

    assert (result["version"], result["added"], result["error"]) == (1, 2, None)


def test_failures_keep_no_other_repository_from_its_sync(story: Story) -> None:
    assert story.bad.status == 1
    assert story.result("good")["error"] is None
    assert story.versions["good"] == [(1, True)]
    assert len(story.bad.objects) == 16


def test_nothing_but_complaints_is_on_stderr(story: Story) -> None:
    assert story.bad.err.splitlines() == story.bad.complaints


def test_after_the_good_run_nothing_is_left_of_the_failures(
    story: Story, flowsync: CommandLine, shared_conninfo: str
) -> None:
    assert (story.mended.status, story.mended.err) == (0, "")
    assert staged(flowsync.home) == []
    expect_whole(shared_conninfo, flowsync.home)
