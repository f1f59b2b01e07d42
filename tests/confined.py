"""A program that turns into a command in surroundings like those of a container with the usual
profile. It is executed, never imported.

    python confined.py PROGRAM [ARGUMENT ...]

No user namespace can be made (a filter of system calls refuses `unshare` and `clone` with that
flag), and of the rights of root those are left that such a container has.
"""

import ctypes
import os
import platform
import struct
import sys

PR_SET_SECCOMP, PR_CAPBSET_DROP = 22, 24
SECCOMP_MODE_FILTER = 2
CLONE_NEWUSER = 0x10000000
NUMBERS = {"x86_64": (272, 56), "aarch64": (97, 220)}
"""Of the system calls `unshare` and `clone`."""

# chown, dac_override, fowner, fsetid, kill, setgid, setuid, setpcap, net_bind_service, net_raw,
# sys_chroot, mknod, audit_write, setfcap
KEPT = {0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31}

LOAD, JUMP_EQUAL, JUMP_SET, RETURN = 0x20, 0x15, 0x45, 0x06
ALLOW, REFUSE = 0x7FFF0000, 0x00050000 | 1


class Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def main(command: list[str]) -> None:
    unshare, clone = NUMBERS[platform.machine()]
    instructions = [
        (LOAD, 0, 0, 0),
        (JUMP_EQUAL, 1, 0, unshare),
        (JUMP_EQUAL, 0, 2, clone),
        (LOAD, 0, 0, 16),
        (JUMP_SET, 1, 0, CLONE_NEWUSER),
        (RETURN, 0, 0, ALLOW),
        (RETURN, 0, 0, REFUSE),
    ]
    text = b"".join(struct.pack("=HBBI", *parts) for parts in instructions)
    program = Program(len(instructions), text)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program)) != 0:
        raise OSError(ctypes.get_errno(), "a filter of system calls cannot be set")
    for number in set(range(64)) - KEPT:
        libc.prctl(PR_CAPBSET_DROP, number, 0, 0, 0)
    os.execv(command[0], command)  # noqa: S606 - no shell is meant


if __name__ == "__main__":
    main(sys.argv[1:])
