"""Work that the contract of executors has done. Workers import this module; it is light."""

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

LONG = 300_000

Wanted = Callable[[], bool]


class OddError(Exception):
    """Has an attribute, and a constructor that its arguments do not fit."""

    def __init__(self, size: int) -> None:
        super().__init__(f"odd {size}")
        self.args = (size,)
        self.size = size

    def __str__(self) -> str:
        return "x" * self.size


class ShyError(Exception):
    """Cannot be pickled."""

    def __init__(self) -> None:
        super().__init__("stays at home")
        self.lock = threading.Lock()


def warm_up() -> None:
    """Import this module, which is done by finding this function."""


def echo(request: bytes, _: Wanted) -> bytes:
    """Return the request."""
    assert type(request) is bytes
    return request


def swell(request: bytes, _: Wanted) -> bytes:
    """Return so many bytes."""
    return bytes(int(request))


def complain(request: bytes, _: Wanted) -> bytes:
    """Raise an error of so many characters."""
    raise OddError(int(request))


def be_shy(_: bytes, __: Wanted) -> bytes:
    """Raise an error that cannot be pickled."""
    raise ShyError


def break_executor(_: bytes, __: Wanted) -> bytes:
    """Kill the process that does this."""
    os.kill(os.getpid(), signal.SIGKILL)
    return b""


def die_once(folder: bytes, _: Wanted) -> bytes:
    """Kill the process that does this for the first time; say which one does it later."""
    lives = Path(os.fsdecode(folder)) / "died"
    try:
        lives.touch(exist_ok=False)
    except FileExistsError:
        return str(os.getpid()).encode()
    return break_executor(b"", _)


def begin_and_wait(folder: bytes, is_wanted: Wanted) -> bytes:
    """Tell in a folder that this has begun, then wait for `go` there, or until it is not wanted;
    tell the end.
    """
    place = Path(os.fsdecode(folder))
    number = 1 + sum(1 for _ in place.glob("begun-*"))
    while True:
        try:
            (place / f"begun-{number}").touch(exist_ok=False)
        except FileExistsError:
            number += 1
        else:
            break
    while is_wanted() and not (place / "go").exists():
        time.sleep(0.002)
    (place / f"ended-{number}").touch()
    return b"done"


def block(folder: bytes, _: Wanted) -> bytes:
    """Tell that this has begun, and hear nothing any more."""
    (Path(os.fsdecode(folder)) / "begun-1").touch()
    signal.pause()
    return b""
