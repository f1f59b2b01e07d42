"""Output that cannot be written or shown: no sync suffers from it, and no terminal obeys it."""

import json
import os
import subprocess
import sys

import pytest

from tests.system.command import CommandLine
from tests.system.publishing import publish
from tests.system.records import versions
from tests.upstream.behaviours import Hold
from tests.upstream.server import Upstream

NAMES = {f"r{number}": f"/{number}" for number in range(6)}


@pytest.fixture
def six(flowsync: CommandLine, upstream: Upstream) -> CommandLine:
    """Give the command line with settings of six repositories, the last of which has to wait."""
    urls = {name: publish(upstream, {"a": name.encode()}, path) for name, path in NAMES.items()}
    for path in [*NAMES.values()][1:]:
        upstream.always(f"{path}/a", Hold())
    flowsync.configure(repositories={name: {"url": url} for name, url in urls.items()})
    return flowsync


def test_a_reader_that_leaves_stops_no_sync(
    six: CommandLine, upstream: Upstream, conninfo: str
) -> None:
    """It is what `flowsync sync --json | head -n1` does."""
    reader, writer = os.pipe()
    running = six.start("sync", "--json", stdout=writer)
    os.close(writer)
    with open(reader) as results:
        first = json.loads(results.readline())
    upstream.release()
    done = running.wait()

    assert first["version"] == 1
    assert [versions(conninfo, name) for name in NAMES] == [[(1, True)]] * 6
    assert done.status == 1
    assert done.complaints == ["flowsync: not all output could be written: Broken pipe"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="the system has no /dev/full")
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_full_disk_under_the_output_stops_no_sync(
    six: CommandLine, upstream: Upstream, conninfo: str, stream: str
) -> None:
    upstream.release()
    with open("/dev/full", "wb") as full:
        done = six.start("sync", **{stream: full}).wait()

    assert [versions(conninfo, name) for name in NAMES] == [[(1, True)]] * 6
    # What stderr loses cannot be told anywhere.
    assert done.status == (1 if stream == "stdout" else 0)
    lost = ["flowsync: not all output could be written: No space left on device"]
    assert done.complaints == (lost if stream == "stdout" else [])


def test_a_listing_to_a_full_disk_says_so(flowsync: CommandLine, upstream: Upstream) -> None:
    flowsync.run("sync", "file", publish(upstream, {"a": b"1"}), "-r", "files")

    with open("/dev/full", "wb") as full:
        helped = flowsync.start("--help", stdout=full).wait()
        shown = flowsync.start("show", "files", stdout=full).wait()

    assert (helped.status, shown.status) == (1, 1)
    said = "flowsync: not all output could be written: No space left on device\n"
    assert (helped.err, shown.err) == (said, said)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="the system has no /dev/full")
@pytest.mark.parametrize("count", [10, 3000])
def test_every_listing_to_a_full_disk_ends_with_one_line(
    flowsync: CommandLine, upstream: Upstream, count: int
) -> None:
    """One that was left early had the task cancelled that closed the engine: a traceback."""
    files = {f"{number:05}/{'x' * 100}": b"1" for number in range(count)}
    flowsync.run("sync", "file", publish(upstream, files), "-r", "files")
    listings = [["show", "files"], ["diff", "files", "0", "1"], ["versions", "files"], ["runs"]]

    with open("/dev/full", "wb") as full:
        ended = [
            flowsync.start(*listing, *as_json, stdout=full).wait()
            for listing in listings
            for as_json in ([], ["--json"])
        ]

    said = "flowsync: not all output could be written: No space left on device\n"
    assert [(done.status, done.err) for done in ended] == [(1, said)] * len(ended)


def test_output_to_a_pipe_that_does_not_block_comes_whole(
    flowsync: CommandLine, upstream: Upstream
) -> None:
    """Another program that shares the pipe may have made it so."""
    files = {f"{number:05}/{'x' * 100}": b"1" for number in range(1500)}
    flowsync.run("sync", "file", publish(upstream, files), "-r", "files")
    reader, writer = os.pipe()
    os.set_blocking(writer, False)

    running = flowsync.start("show", "files", stdout=writer)
    os.close(writer)
    with open(reader) as shown:
        lines = shown.read().splitlines()

    assert running.wait().status == 0
    assert len(lines) == len(files) + 1


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_text_that_the_output_cannot_show_is_escaped(
    flowsync: CommandLine, upstream: Upstream, encoding: str
) -> None:
    name = "grün→.txt"
    flowsync.run("sync", "file", publish(upstream, {name: b"1"}), "-r", "files")
    environment = {"PYTHONIOENCODING": encoding}

    text = raw(flowsync, environment, "show", "files").decode(encoding)
    objects = raw(flowsync, environment, "show", "files", "--json").decode(encoding)

    shown = {"ascii": "gr\\xfcn\\u2192.txt", "latin-1": "grün\\u2192.txt", "utf-8": name}
    assert shown[encoding] in text
    assert json.loads(objects)["relative_path"] == name


def test_no_name_reaches_the_terminal_as_something_that_it_obeys(
    flowsync: CommandLine, upstream: Upstream
) -> None:
    """Of upstream's names, one turns the direction of writing; an argument has an escape
    sequence.
    """
    name = "exe.\u202egpj"
    flowsync.run("sync", "file", publish(upstream, {name: b"1"}), "-r", "files")

    shown = flowsync.run("show", "files")
    changed = flowsync.run("diff", "files", "0", "1")
    explained = flowsync.run("why", "files", name)
    lacking = flowsync.run("why", "files", "c\x1b[31m\x9b")
    unknown = flowsync.run("frob\x1b[31m")
    extra = flowsync.run("show", "files", "1", "frob\x1b[31m")
    objects = flowsync.run("show", "files", "--json")

    assert "  exe.\\u202egpj\n" in shown.out
    assert "+ exe.\\u202egpj\n" in changed.out
    assert "has exe.\\u202egpj\n" in explained.out
    assert "does not have c\\x1b[31m\\x9b\n" in lacking.out
    for done in (shown, changed, explained, lacking, unknown, extra, objects):
        assert not {"\x1b", "\x9b", "\u202e"} & {*done.out, *done.err}
    assert objects.objects[0]["relative_path"] == name


def raw(flowsync: CommandLine, environment: dict[str, str], *arguments: str) -> bytes:
    """Return what a command prints, as bytes."""
    done = subprocess.run(
        [sys.executable, "-m", "flowsync", *arguments],
        cwd=flowsync.folder,
        env=flowsync.environment | environment,
        capture_output=True,
        check=True,
    )
    return done.stdout
