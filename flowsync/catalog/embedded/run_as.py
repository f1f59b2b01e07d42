"""A script that becomes another program, under another identity if asked, detached if asked. It is executed, never imported.

    python -I -S run_as.py IDENTITY LOG PROGRAM [ARGUMENT ...]

IDENTITY is `self`, `account:UID:GID` (setuid, without other groups) or `namespace:UID` (a new user namespace in which the caller's user and
group are seen under that number). With an empty LOG the script turns into the program. Otherwise the program is started in a session of its
own, its output is appended to LOG, and the script prints its process id and ends. A failure is one line on stderr and status 126.

Decided: a process of its own, instead of `preexec_fn` or `os.fork` in the caller, because Python code that runs between fork and exec can
deadlock in a process with threads, and flowsync starts the server from a thread. The price is the start of a bare interpreter, 15 ms.
Decided: the server is nobody's child (this script forks and ends), because it outlives whoever starts it: as a child it would leave a zombie
in a long-lived starter when another process stops it.
"""

import ctypes
import os
import sys

CLONE_NEWUSER = 0x10000000
FAILED = 126


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
    kind, *numbers = identity.split(":")
    if kind == "account":
        become_account(int(numbers[0]), int(numbers[1]))
    elif kind == "namespace":
        enter_namespace(int(numbers[0]))
    os.execv(command[0], command)  # noqa: S606 - no shell is meant


def become_account(uid: int, gid: int) -> None:
    """Become a user, for good. The groups go first: without the rights of root they could not."""
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)


def enter_namespace(seen_as: int) -> None:
    """Move into a user namespace where this process is an ordinary user; what it writes still belongs to the user outside."""
    uid, gid = os.geteuid(), os.getegid()
    # os.unshare came with Python 3.12.
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWUSER) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"unshare of a user namespace: {os.strerror(number)}")
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
