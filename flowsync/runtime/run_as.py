"""A script that becomes another program, under another identity if asked, detached if asked. It is
executed; nothing but its constants is imported.

    python -I -S run_as.py IDENTITY LOG PROGRAM [ARGUMENT ...]

IDENTITY is `self`, `account:UID:GID` (setuid, without other groups) or `namespace:UID` (a new user
namespace in which the caller's user and group are seen under that number). Behind the first two may
stand what a program that is not root keeps of the rights of root: nothing, `+pass` (to pass folders
that are closed to it), or `+all`. With an empty LOG the script turns into the program. Otherwise
the program is started in a session of its own, its output is appended to LOG, and the script prints
its process id and ends. A failure is one line on stderr and status 126.

Decisions: docs/decisions/0015.
"""

import ctypes
import errno
import os
import sys
from contextlib import suppress

CLONE_NEWUSER = 0x10000000
FAILED = 126

# Numbers of the kernel: prctl(2), capset(2), capabilities(7).
PR_SET_KEEPCAPS = 8
PR_SET_SECUREBITS = 28
SECBIT_NO_SETUID_FIXUP = 1 << 2
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE, PR_CAP_AMBIENT_CLEAR_ALL = 2, 4
CAPABILITY_VERSION_3 = 0x20080522
CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 1, 2
# Either one passes closed folders. The first can do less; many containers have the second only.
PASSING = (CAP_DAC_READ_SEARCH, CAP_DAC_OVERRIDE)


def main(identity: str, log: str, *command: str) -> None:
    """Start the program detached, or turn into it."""
    if log:
        sys.stdout.write(f"{start_detached(identity, log, command)}\n")
    else:
        turn_into(identity, command)


def start_detached(identity: str, log: str, command: tuple[str, ...]) -> int:
    """Return the process id of the program once it has been executed."""
    # Opened before the identity changes: the log belongs to the caller.
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(output, 1)
            os.dup2(output, 2)
            turn_into(identity, command)
        except Exception as error:  # noqa: BLE001 - whatever it is, the parent tells it
            os.write(writing, str(error).encode())
        finally:
            os._exit(FAILED)
    os.close(writing)
    # A successful exec closes the other end of the pipe without a word.
    failure = os.read(reading, 4096)
    if failure:
        raise OSError(failure.decode())
    return pid


def turn_into(identity: str, command: tuple[str, ...]) -> None:
    """Take on the identity and become the program. Returns only by an error."""
    who, _, rights = identity.partition("+")
    kind, *numbers = who.split(":")
    # Kernels without ambient rights have none to clear.
    with suppress(OSError):
        control(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    if rights:
        answer_for_kept_rights()
    if kind == "account":
        become_account(int(numbers[0]), int(numbers[1]))
    elif kind == "namespace":
        enter_namespace(int(numbers[0]))
    if rights:
        keep_rights(rights)
    os.execv(command[0], command)  # noqa: S606 - no shell is meant


def become_account(uid: int, gid: int) -> None:
    """Become a user, for good. The groups go first: without the rights of root they could not."""
    os.setgroups([])
    os.setgid(gid)
    # What is permitted outlasts the change of user, but not the next program, unless it is made
    # ambient.
    control(PR_SET_KEEPCAPS, 1)
    os.setuid(uid)


def answer_for_kept_rights() -> None:
    """Let access(2) count the rights that are kept: PostgreSQL asks it whether its own files, which
    may lie in a closed folder too, can be executed. Nothing changes where that is not permitted.
    """
    with suppress(OSError):
        control(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP)


def keep_rights(which: str) -> None:
    """Let the next program have a right to pass closed folders, or all rights that this process may
    have.
    """
    permitted = permitted_rights()
    if which == "all":
        kept = [number for number in range(64) if permitted >> number & 1]
    else:
        kept = [number for number in PASSING if permitted >> number & 1][:1]
        if not kept:
            text = "keeping the right to pass closed folders (CAP_DAC_READ_SEARCH)"
            raise OSError(errno.EPERM, f"{text}: {os.strerror(errno.EPERM)}")
    # Nothing else stays permitted: a program that gains rights by being executed would lose its
    # library path.
    mask = sum(1 << number for number in kept)
    set_rights(mask)
    for number in kept:
        control(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, number)


def permitted_rights() -> int:
    """Return the capabilities that this process may have, as bits."""
    data = (ctypes.c_uint32 * 6)()
    call("capget", (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0), data)
    return int(data[1]) | int(data[4]) << 32


def set_rights(mask: int) -> None:
    """Make exactly these capabilities effective, permitted and inheritable."""
    low, high = mask & 0xFFFFFFFF, mask >> 32
    data = (ctypes.c_uint32 * 6)(low, low, low, high, high, high)
    call("capset", (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0), data)


def control(operation: int, *arguments: int) -> None:
    """Call prctl."""
    padded = [*arguments, 0, 0, 0, 0][:4]
    call("prctl", operation, *(ctypes.c_ulong(argument) for argument in padded))


def call(name: str, *arguments: object, what: str = "") -> None:
    """Call a function of the C library that returns 0, or else the number of an error in
    `errno`.
    """
    function = getattr(ctypes.CDLL(None, use_errno=True), name)
    if function(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what or name}: {os.strerror(number)}")


def enter_namespace(seen_as: int) -> None:
    """Move into a user namespace where this process is an ordinary user; what it writes still
    belongs to the user outside.
    """
    uid, gid = os.geteuid(), os.getegid()
    # os.unshare came with Python 3.12.
    call("unshare", CLONE_NEWUSER, what="unshare of a user namespace")
    # The kernel lets an unprivileged process map its group only after it gave up setgroups.
    write_once("/proc/self/setgroups", "deny")
    write_once("/proc/self/uid_map", f"{seen_as} {uid} 1")
    write_once("/proc/self/gid_map", f"{seen_as} {gid} 1")


def write_once(path: str, text: str) -> None:
    """Write a file of the kernel in the one call that it demands."""
    file = os.open(path, os.O_WRONLY)
    try:
        os.write(file, text.encode())
    finally:
        os.close(file)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except OSError as problem:
        sys.stderr.write(f"{problem}\n")
        raise SystemExit(FAILED) from None
