"""What a person at a terminal sees: bars on stderr, results on stdout, whichever of the two is the
terminal.
"""

import fcntl
import os
import pty
import re
import signal
import struct
import termios
import threading
from collections.abc import Iterator

import pytest

from tests.system.command import CommandLine
from tests.system.publishing import publish
from tests.upstream.behaviours import Hold, Status
from tests.upstream.server import Upstream

CONTROLS = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


class Terminal:
    """A pseudo-terminal. `descriptor` is the side of the program; `read` closes it and returns what
    was written to it.
    """

    def __init__(self, rows: int = 40, columns: int = 100) -> None:
        try:
            self._ours, self.descriptor = pty.openpty()
        except OSError as error:
            pytest.skip(f"this machine gives no pseudo-terminal: {error}")
        size = struct.pack("HHHH", rows, columns, 0, 0)
        fcntl.ioctl(self.descriptor, termios.TIOCSWINSZ, size)
        self._written = b""
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._collect, daemon=True)
        self._thread.start()

    def read(self) -> str:
        self.close()
        return self._written.decode()

    def wait_for(self, pattern: str, within: float = 30.0) -> None:
        """Wait until the program has written something that matches."""

        def written() -> str:
            return CONTROLS.sub("", self._written.decode(errors="replace"))

        with self._changed:
            found = self._changed.wait_for(lambda: re.search(pattern, written()), within)
            assert found, f"{pattern!r} did not come, but: {written()[-2000:]}"

    def hang_up(self) -> None:
        """Close our side: what the program writes fails from now on."""
        os.close(self.descriptor)
        os.close(self._ours)

    def close(self) -> None:
        if self._thread.is_alive():
            os.close(self.descriptor)
            self._thread.join()
            os.close(self._ours)

    def _collect(self) -> None:
        # Linux says EIO when the last one on the other side has closed it.
        try:
            while chunk := os.read(self._ours, 1 << 16):
                with self._changed:
                    self._written += chunk
                    self._changed.notify_all()
        except OSError:
            return


@pytest.fixture
def flowsync(flowsync: CommandLine) -> CommandLine:
    flowsync.environment.pop("COLUMNS")
    flowsync.environment["TERM"] = "xterm-256color"
    return flowsync


@pytest.fixture
def url(upstream: Upstream) -> str:
    return publish(upstream, {"a.txt": b"one", "b.txt": b"two"})


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    terminal = Terminal()
    yield terminal
    terminal.close()


def test_bars_are_drawn_on_a_terminal_and_the_result_stays_on_stdout(
    flowsync: CommandLine, url: str, terminal: Terminal
) -> None:
    running = flowsync.start(
        "sync", "file", url, "-r", "files", "--json", stderr=terminal.descriptor
    )
    done = running.wait()
    screen = CONTROLS.sub("", terminal.read())

    assert [result["version"] for result in done.objects] == [1]
    assert re.search(r"files: Downloading Artifacts +━+ 2, 6 B", screen)
    assert re.search(r"files: Associating Content +━+ 2 ", screen)
    assert '"repository"' not in screen


def test_result_and_complaint_stand_whole_on_a_terminal(
    flowsync: CommandLine, url: str, upstream: Upstream, terminal: Terminal
) -> None:
    upstream.always("/b.txt", Status(404))
    both = {"stdout": terminal.descriptor, "stderr": terminal.descriptor}

    done = flowsync.start("sync", "file", url, "-r", "files", **both).wait()
    screen = CONTROLS.sub("", terminal.read())

    assert done.status == 1
    lines = [line.strip() for line in screen.replace("\r", "\n").split("\n")]
    (complaint,) = [line for line in lines if line.startswith("flowsync: ")]
    assert complaint == (
        f"flowsync: sync of files from {url} failed: {upstream.url('/b.txt')}: status 404 Not Found"
    )
    # Below the bars.
    assert [line for line in lines if line][-1] == "files: failed, no version"


def test_a_counter_that_never_counted_has_no_bar(
    flowsync: CommandLine, url: str, terminal: Terminal
) -> None:
    flowsync.run("sync", "file", url, "-r", "files")

    done = flowsync.start("sync", "file", url, "-r", "files", stderr=terminal.descriptor).wait()
    screen = CONTROLS.sub("", terminal.read())

    assert done.status == 0
    assert "Downloading Metadata" in screen
    assert "Artifacts" not in screen
    assert "Associating" not in screen


def test_a_terminal_that_cannot_redraw_gets_plain_lines(
    flowsync: CommandLine, url: str, terminal: Terminal
) -> None:
    flowsync.environment["TERM"] = "dumb"

    flowsync.start("sync", "file", url, "-r", "files", stderr=terminal.descriptor).wait()

    assert "files: Downloading Artifacts 2, 6 B\r\n" in terminal.read()


def screen_of(written: str, rows: int) -> list[str]:
    """Return all lines of a terminal of so many rows after that was written to it, those that
    scrolled away first.
    """
    lines, row = [""], 0
    for part in re.findall(r"\x1b\[[0-9;?]*[a-zA-Z]|\r|\n|[^\x1b\r\n]+", written):
        if part == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif part == "\x1b[1A":
            # The cursor does not leave the screen: a drawing that is too high stays behind.
            row = max(row - 1, len(lines) - rows, 0)
        elif part == "\x1b[2K":
            lines[row] = ""
        elif part[0] not in "\r\x1b":
            lines[row] += part
    return [line.rstrip() for line in lines]


@pytest.mark.parametrize(("rows", "columns"), [(24, 100), (10, 40)])
def test_more_repositories_than_the_terminal_has_lines_are_followed_to_their_end(
    flowsync: CommandLine, upstream: Upstream, rows: int, columns: int
) -> None:
    """Each result stands once, whole; while they go on, one line counts all."""
    names = [f"r{number:02}" for number in range(31)]
    urls = {name: publish(upstream, {"a": name.encode()}, f"/{name}") for name in names}
    for name in names[3:]:
        upstream.always(f"/{name}/a", Hold())
    flowsync.configure("hash_workers = 1\n", {name: {"url": url} for name, url in urls.items()})
    terminal = Terminal(rows, columns)
    both = {"stdout": terminal.descriptor, "stderr": terminal.descriptor}

    running = flowsync.start("sync", **both)
    terminal.wait_for(r"3 of 31 repositories.*B, .*B/s")
    upstream.release()
    done = running.wait()
    written = terminal.read()

    assert done.status == 0
    lines = [line for line in screen_of(written, rows) if line]
    results = [line for line in lines if ": version 1: 1 added, 0 removed" in line]
    assert sorted(line.partition(":")[0] for line in results) == names
    highest = max(run.count("A") for run in re.findall(r"(?:\x1b\[1A\x1b\[2K)+", written))
    assert highest < rows


def test_a_complaint_stands_above_the_lines_that_are_drawn(
    flowsync: CommandLine, upstream: Upstream
) -> None:
    names = [f"r{number:02}" for number in range(12)]
    urls = {name: publish(upstream, {"a": name.encode()}, f"/{name}") for name in names}
    for name in names[2:]:
        upstream.always(f"/{name}/a", Hold())
    upstream.always("/r00/a", Status(404))
    flowsync.configure("hash_workers = 1\n", {name: {"url": url} for name, url in urls.items()})
    terminal = Terminal(24)
    both = {"stdout": terminal.descriptor, "stderr": terminal.descriptor}

    running = flowsync.start("sync", **both)
    terminal.wait_for("2 of 12 repositories")
    upstream.release()
    done = running.wait()

    assert done.status == 1
    lines = [line for line in screen_of(terminal.read(), 24) if line]
    first = "".join(lines[: lines.index("r00: failed, no version")])
    assert first.startswith(f"flowsync: sync of r00 from {urls['r00']} failed: ")
    assert sum(line.endswith("units/s)") or ": version 1: " in line for line in lines) == 11


def test_a_terminal_that_goes_away_ends_the_sync_in_order(
    flowsync: CommandLine, upstream: Upstream
) -> None:
    """What is drawn cannot be written any more; the signal that comes with it ends the command."""
    url = publish(upstream, {"a.txt": b"one"})
    upstream.always("/a.txt", Hold())
    terminal = Terminal()
    both = {"stdout": terminal.descriptor, "stderr": terminal.descriptor}
    running = flowsync.start("sync", "file", url, "-r", "files", **both)
    terminal.wait_for("files: Downloading Metadata")

    terminal.hang_up()
    done = running.stop(signal.SIGHUP)

    assert done.status == 129
