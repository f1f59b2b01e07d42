"""The command line as a person or a script runs it: a process of its own, in a session of its own,
so that whatever it leaves behind is found. Commands that run to their end come from a warm
interpreter (`warm.py`).
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec

from tests.system import warm

REPOSITORY = Path(__file__).parents[2]


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """How a command ended: its exit status, what it printed, and how long it took (seconds)."""

    status: int
    out: str
    err: str
    seconds: float = 0.0

    @property
    def objects(self) -> list[dict[str, Any]]:
        """The JSON objects on stdout, which must hold one a line and nothing else."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def complaints(self) -> list[str]:
        """The lines on stderr that tell of failures."""
        return [line for line in self.err.splitlines() if line.startswith("flowsync: ")]


OURS = {"LINES", "PYTEST_CURRENT_TEST"}
"""What the readline library and pytest export to what the process of the tests starts. With the
name of the test no environment would be that of the warm interpreter.
"""

EARLY = ("PYTHON", "LC_", "LANG", "LD_", "TZ", "MALLOC_")
"""Beginnings of the names of variables that the interpreter or its libraries read as they start."""


class CommandLine:
    """`flowsync` with one home and one database, run in `folder`, where `flowsync.toml` would
    stand. Without `database_url`, the embedded one.
    """

    def __init__(
        self,
        folder: Path,
        *,
        database_url: str | None,
        home: Path | None = None,
        prefix: Iterable[str] = (),
    ) -> None:
        self.folder = folder
        self.home = folder / "home" if home is None else home
        self._prefix = list(prefix)
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("FLOWSYNC_") and name not in OURS
        }
        self.environment = inherited | {
            "FLOWSYNC_HOME": str(self.home),
            "PYTHONPATH": str(REPOSITORY),
            "COLUMNS": "100",
        }
        if database_url is not None:
            self.environment["FLOWSYNC_DATABASE_URL"] = database_url

    def start(self, *arguments: str, **how: Any) -> "Running":
        """Start a command; `how` is for `subprocess.Popen`."""
        return self.start_program([sys.executable, "-m", "flowsync", *arguments], **how)

    def start_program(self, command: Iterable[str], **how: Any) -> "Running":
        """Start another program where and as a command would be started."""
        environment = self.environment | how.pop("env", {})
        streams: dict[str, Any] = {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
        }
        return Running(
            subprocess.Popen(
                [*self._prefix, *command],
                cwd=self.folder,
                env=environment,
                start_new_session=True,
                **streams | how,
            )
        )

    def run(self, *arguments: str, env: Mapping[str, str] | None = None) -> Done:
        """Run a command to its end."""
        early = any(name.startswith(EARLY) for name in env or {})
        interpreter = None if early or self._prefix else self.warm_interpreter()
        if interpreter is None:
            return self.start(*arguments, env=env or {}).wait()
        began = time.monotonic()
        pid, status, out, err = warm.run(
            interpreter,
            list(arguments),
            self.folder,
            self.environment | dict(env or {}),
            timeout=50.0,
        )
        done = Done(
            status=status, out=out.decode(), err=err.decode(), seconds=time.monotonic() - began
        )
        assert left_behind(pid) == []
        return done

    def warm_interpreter(self) -> warm.Interpreter | None:
        """Return the interpreter that commands are forked from, if this environment may have it."""
        plain = {name: text for name, text in self.environment.items() if "FLOWSYNC_" not in name}
        return warm.interpreter(plain)

    def run_all(self, *commands: tuple[str, ...]) -> list[Done]:
        """Run several commands side by side, and return how they ended in the given order."""
        with ThreadPoolExecutor() as pool:
            return list(pool.map(lambda arguments: self.run(*arguments), commands))

    def configure(
        self, text: str = "", repositories: Mapping[str, Mapping[str, object]] | None = None
    ) -> None:
        """Write `flowsync.toml`: `text`, then the repositories with their fields. All of them try
        each request once unless they say otherwise.
        """
        lines = [text]
        for name, given in (repositories or {}).items():
            lines.append(f"[repositories.{name}]")
            fields = {"source": "file", "remote": {"max_retries": 0}, **given}
            lines += [f"{field} = {_toml(value)}" for field, value in fields.items()]
        (self.folder / "flowsync.toml").write_text("\n".join(lines))


class Running:
    """A command that runs."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self.process = process
        self._began = time.monotonic()

    def wait(self, timeout: float = 50.0) -> Done:
        """Wait for the end. Fail when a process is left behind."""
        try:
            out, err = self.process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self.signal(signal.SIGKILL)
            self.process.communicate()
            raise
        done = Done(
            status=self.process.returncode,
            out=(out or b"").decode(),
            err=(err or b"").decode(),
            seconds=time.monotonic() - self._began,
        )
        assert self.left_behind() == []
        return done

    def signal(self, number: int) -> None:
        """Send a signal to the whole group, as a terminal does on Ctrl-C."""
        os.killpg(self.process.pid, number)

    def stop(self, number: int, *, alone: bool = False) -> Done:
        """Send a signal, to the command `alone` or to its whole group; `seconds` of the answer are
        those from the signal to the end.
        """
        self._began = time.monotonic()
        if alone:
            os.kill(self.process.pid, number)
        else:
            self.signal(number)
        return self.wait(timeout=20.0)

    def processes(self) -> list[str]:
        """Return the command lines of the processes of the session that live."""
        return _session(self.process.pid)

    def left_behind(self, within: float = 5.0) -> list[str]:
        """Return the command lines of the processes of the session that still live after so many
        seconds.
        """
        return left_behind(self.process.pid, within)


def left_behind(leader: int, within: float = 5.0) -> list[str]:
    """Return the command lines of the processes of a session that still live after so many
    seconds.
    """
    deadline = time.monotonic() + within
    while (left := _session(leader)) and time.monotonic() < deadline:
        time.sleep(0.01)
    return left


def _session(leader: int) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                state, _, _, session = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
                words = (entry / "cmdline").read_bytes().replace(b"\0", b" ")
                command = words.decode(errors="replace")
            except OSError:
                continue
            if int(session) == leader and state != "Z":
                found.append(command)
    return found


def _toml(value: object) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{name} = {_toml(item)}" for name, item in value.items()) + " }"
    return json.dumps(value)
