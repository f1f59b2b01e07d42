"""What a person at a terminal sees: bars on stderr, results on stdout, whichever of the two is the terminal."""

import fcntl
import os
import pty
import re
import struct
import termios
import threading
from collections.abc import Iterator

import pytest

from tests.system.command import CommandLine
from tests.system.publishing import publish
from tests.upstream.behaviours import Status
from tests.upstream.server import Upstream

CONTROLS = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


class Terminal:
    """A pseudo-terminal of 100 columns. `descriptor` is the side of the program; `read` closes it and returns what was written to it."""

    def __init__(self) -> None:
        try:
            self._ours, self.descriptor = pty.openpty()
        except OSError as error:
            pytest.skip(f"this machine gives no pseudo-terminal: {error}")
        fcntl.ioctl(self.descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
        self._written = b""
        self._thread = threading.Thread(target=self._collect)
        self._thread.start()

    def read(self) -> str:
        self.close()
        return self._written.decode()

    def close(self) -> None:
        if self._thread.is_alive():
            os.close(self.descriptor)
            self._thread.join()
            os.close(self._ours)

    def _collect(self) -> None:
        # Linux says EIO when the last one on the other side has closed it.
        try:
            while chunk := os.read(self._ours, 1 << 16):
                self._written += chunk
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

    flowsync.start("sync", "file", url, "-r", "files", stderr=terminal.descriptor).wait()
    screen = CONTROLS.sub("", terminal.read())

    assert "Downloading Metadata" in screen
    assert "Artifacts" not in screen
    assert "Associating" not in screen


def test_a_terminal_that_cannot_redraw_gets_plain_lines(
    flowsync: CommandLine, url: str, terminal: Terminal
) -> None:
    flowsync.environment["TERM"] = "dumb"

    flowsync.start("sync", "file", url, "-r", "files", stderr=terminal.descriptor).wait()

    assert "files: Downloading Artifacts 2, 6 B\r\n" in terminal.read()
