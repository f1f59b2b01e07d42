"""Commands from a warm interpreter: a process that has imported all of flowsync forks one for each
command, in a session, folder and environment of its own.

Importing is most of what a short command costs, and is the same each time. Whatever looks at the
start of the interpreter (closed descriptors, variables that it reads then, a prefix) starts afresh;
so does every command where `FLOWSYNC_TEST_FRESH` is set.

`python -m tests.system.warm SOCKET` is that process. A client connects, sends arguments, folder,
environment and umask with two descriptors for the output, and gets the process id, and in the end
the exit status. The process ends when its standard input does.
"""

import array
import atexit
import contextlib
import importlib
import os
import pkgutil
import runpy
import selectors
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import msgspec

REPOSITORY = Path(__file__).parents[2]
LARGEST_REQUEST = 1 << 20


class Request(msgspec.Struct):
    """What is to be run, and where; words are as the system has them."""

    arguments: list[bytes]
    folder: bytes
    environment: list[tuple[bytes, bytes]]
    umask: int


class Interpreter:
    """The warm process, as its clients see it. `plain` is the environment it was started with."""

    def __init__(self, plain: Mapping[str, str]) -> None:
        self.plain = dict(plain)
        self._folder = tempfile.TemporaryDirectory(prefix="warm-")
        self._address = os.path.join(self._folder.name, "socket")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.system.warm", self._address],
            cwd=REPOSITORY,
            env=self.plain,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"warm\n"
        atexit.register(self.close)

    def start(self, request: Request, out: IO[bytes], err: IO[bytes]) -> "Command":
        """Start a command that writes to the two files."""
        text = msgspec.msgpack.encode(request)
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(self._address)
        socket.send_fds(connection, [text], [out.fileno(), err.fileno()])
        connection.shutdown(socket.SHUT_WR)
        return Command(connection)

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()
        self._folder.cleanup()


class Command:
    """A command that was forked."""

    def __init__(self, connection: socket.socket) -> None:
        self._answers = connection.makefile("r")
        self._connection = connection
        self.pid = int(self._answers.readline())

    def wait(self, timeout: float) -> int:
        """Return the exit status, negative when a signal ended it. Raise `TimeoutError`."""
        self._connection.settimeout(timeout)
        try:
            return int(self._answers.readline())
        finally:
            self._answers.close()
            self._connection.close()


def umask() -> int:
    """Return the umask of this process without changing it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (mask,) = [line.split()[1] for line in lines if line.startswith("Umask:")]
    return int(mask, 8)


def main() -> None:
    """Serve until standard input ends; in a child, run the command."""
    import_all()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(sys.argv[1])
        listener.listen(64)
        print("warm", flush=True)
        request = serve(listener)
    if request is not None:
        sys.argv[1:] = map(os.fsdecode, request.arguments)
        # What a command of root's starts again as the owner of the home.
        sys.orig_argv[1:] = ["-m", "flowsync", *sys.argv[1:]]
        sys.path[0] = os.fsdecode(request.folder)
        runpy.run_module("flowsync", run_name="__main__", alter_sys=True)


def import_all() -> None:
    """Import every module of flowsync."""
    package = importlib.import_module("flowsync")
    for module in pkgutil.walk_packages(package.__path__, "flowsync."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


def serve(listener: socket.socket) -> Request | None:
    """Fork a child for each request and tell how it ended; return the request in the child."""
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        selector.register(sys.stdin, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is sys.stdin:
                    return None
                if key.fileobj is listener:
                    connection, _ = listener.accept()
                    text, descriptors = received(connection)
                    request = msgspec.msgpack.decode(text, type=Request)
                    pid = os.fork()
                    if not pid:
                        become(request, descriptors)
                        return request
                    for descriptor in descriptors:
                        os.close(descriptor)
                    connection.sendall(f"{pid}\n".encode())
                    selector.register(os.pidfd_open(pid), selectors.EVENT_READ, (pid, connection))
                else:
                    told(selector, key)


def received(connection: socket.socket) -> tuple[bytes, list[int]]:
    """Return all that a client sends, and its descriptors."""
    text, descriptors, _, _ = socket.recv_fds(connection, LARGEST_REQUEST, 2)
    while piece := connection.recv(LARGEST_REQUEST):
        text += piece
    return text, list(array.array("i", descriptors))


def told(selector: selectors.BaseSelector, key: selectors.SelectorKey) -> None:
    """Tell a client how its command ended."""
    selector.unregister(key.fileobj)
    assert isinstance(key.fileobj, int)
    os.close(key.fileobj)
    pid, connection = key.data
    _, status = os.waitpid(pid, 0)
    with connection:
        with contextlib.suppress(BrokenPipeError):
            connection.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())


def become(request: Request, descriptors: list[int]) -> None:
    """Make this process, which was just forked, that of a command."""
    os.setsid()
    os.chdir(request.folder)
    os.umask(request.umask)
    os.environ.clear()
    os.environb.update(request.environment)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, descriptor in enumerate((nothing, *descriptors)):
        os.dup2(descriptor, number)
        os.close(descriptor)
    importlib.invalidate_caches()


_interpreters: list[Interpreter] = []


def interpreter(plain: Mapping[str, str]) -> Interpreter | None:
    """Return the warm interpreter of this process, started at the first call; None when it was
    started in another environment, or when all shall be fresh.
    """
    if "FLOWSYNC_TEST_FRESH" in os.environ:
        return None
    if not _interpreters:
        _interpreters.append(Interpreter(plain))
    return _interpreters[0] if _interpreters[0].plain == plain else None


def run(
    warm: Interpreter,
    arguments: list[str],
    folder: Path,
    environment: dict[str, str],
    timeout: float,
) -> tuple[int, int, bytes, bytes]:
    """Run a command to its end; return process id, status, and what it wrote."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        variables = [(os.fsencode(name), os.fsencode(text)) for name, text in environment.items()]
        words = [os.fsencode(argument) for argument in arguments]
        request = Request(words, os.fsencode(folder), variables, umask())
        command = warm.start(request, out, err)
        try:
            status = command.wait(timeout)
        except TimeoutError:
            os.killpg(command.pid, 9)
            raise
        written = [_whole(file) for file in (out, err)]
    return command.pid, status, written[0], written[1]


def _whole(file: Any) -> bytes:
    file.seek(0)
    return bytes(file.read())


if __name__ == "__main__":
    main()
