"""A program to which the kernel refuses system calls, run as `python refusing.py CALL,CALL=ERRNO …
-- PROGRAM …`.

A filter of seccomp answers for the kernel; it needs no rights, and holds for every process below.
The status is 77 where there is no such filter.
"""

import ctypes
import errno
import os
import platform
import struct
import sys
from typing import Final

NOT_HERE: Final = 77

_X86_64: Final = 0xC000003E
_AARCH64: Final = 0xC00000B7
_NUMBERS: Final = {
    "x86_64": (
        _X86_64,
        {
            "fsync": 74,
            "flock": 73,
            "link": 86,
            "chmod": 90,
            "fchmod": 91,
            "linkat": 265,
            "fchmodat": 268,
            "sync_file_range": 277,
            "syncfs": 306,
            "renameat2": 316,
            "memfd_create": 319,
        },
    ),
    "aarch64": (
        _AARCH64,
        {
            "flock": 32,
            "linkat": 37,
            "fchmod": 52,
            "fchmodat": 53,
            "fsync": 82,
            "sync_file_range": 84,
            "syncfs": 267,
            "renameat2": 276,
            "memfd_create": 279,
        },
    ),
}

_LOAD: Final = 0x20
_JUMP_IF_EQUAL: Final = 0x15
_RETURN: Final = 0x06
_ALLOW: Final = 0x7FFF0000
_REFUSE: Final = 0x00050000
_NO_NEW_PRIVILEGES: Final = 38
_SET_SECCOMP: Final = 22
_FILTER: Final = 2


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def _instruction(code: int, equal: int, other: int, value: int) -> bytes:
    return struct.pack("HBBI", code, equal, other, value)


def _filter(refused: dict[int, int], architecture: int) -> bytes:
    parts = [
        _instruction(_LOAD, 0, 0, 4),
        _instruction(_JUMP_IF_EQUAL, 1, 0, architecture),
        _instruction(_RETURN, 0, 0, _ALLOW),
        _instruction(_LOAD, 0, 0, 0),
    ]
    for number, code in refused.items():
        parts += [
            _instruction(_JUMP_IF_EQUAL, 0, 1, number),
            _instruction(_RETURN, 0, 0, _REFUSE | code),
        ]
    return b"".join([*parts, _instruction(_RETURN, 0, 0, _ALLOW)])


def main() -> None:
    """Have the calls refused, and become the program."""
    split = sys.argv.index("--")
    architecture, numbers = _NUMBERS.get(platform.machine(), (0, {}))
    refused = {
        numbers[call]: getattr(errno, code)
        for calls, code in (rule.split("=") for rule in sys.argv[1:split])
        for call in calls.split(",")
        if call in numbers
    }
    code = ctypes.create_string_buffer(_filter(refused, architecture))
    program = _Program((len(code) - 1) // 8, ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    asked = libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    if asked or libc.prctl(_SET_SECCOMP, _FILTER, ctypes.byref(program)) or not numbers:
        sys.exit(NOT_HERE)
    command = sys.argv[split + 1 :]
    os.execvp(command[0], command)  # noqa: S606 -- takes the place of this program


if __name__ == "__main__":
    main()
