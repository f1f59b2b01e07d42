"""Who runs PostgreSQL: the rules that choose the account. PostgreSQL itself refuses to run as root.

1. An existing cluster is run by its owner: root's by root inside a user namespace, any other
   by its owner.
2. A plain user runs it as themselves. For one without a name (a container started with a bare user
   number) the cluster is made inside a user namespace, or by an account with a name if the caller
   may change to it, because `initdb` asks for the name.
3. Root hands a new cluster to the account `flowsync`, `postgres` or `nobody`, the first that exists
   and can reach the programs and the folder as they are: no permission of an existing folder is
   ever changed to make it reachable.
4. Where none can (programs below root's own home, a folder closed to others, a container with a
   single user), root runs it inside a user namespace, in which it is an ordinary user while its
   files stay root's.
5. Where the kernel permits no such namespace (a container with the usual profile, a chroot), the
   account runs it and keeps one right of root's: to pass closed folders. A cluster that root made
   in a namespace elsewhere is given to that account.
6. What was chosen has run `postgres --version` first, so that a refusal of the kernel is known
   before anything is written.

Also here: how a program of PostgreSQL is run, and whether a disk had room for it.
"""

import errno
import os
import pwd
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from flowsync.embedded_postgres.binaries import Binaries
from flowsync.errors import EmbeddedPostgresError
from flowsync.runtime import run_as
from flowsync.runtime.run_as import PASSING

# The identity that the programs of PostgreSQL run under, and the two ways to run one: to its end,
# or detached.
#
# 1. A program sees a clean environment: no `PG*` variable of the caller leads it elsewhere, no
#    secret of the caller lives on in the server, and its messages are in English, because some are
#    read (`server.py`).
# 2. Programs run with `/` as their working folder: the caller's may be unreadable for the account.
# 3. Nothing runs between fork and exec in the caller: `run_as.py` says why.

# A launch takes 15 ms. It is not bound by the caller's deadline: the script, cut off midway, could
# not say what it started.
_LAUNCH_SECONDS = 30.0
_KEPT_VARIABLES = ("PATH", "LD_LIBRARY_PATH")


class SystemUser(msgspec.Struct, frozen=True, kw_only=True):
    """Who runs PostgreSQL. `identity` is the word for `run_as.py`; `owner` is the user and group to
    give new folders to, if not the caller's.

    `maker` makes the cluster in place of one that cannot.
    """

    identity: str = "self"
    owner: tuple[int, int] | None = None
    maker: "SystemUser | None" = None

    @property
    def uid(self) -> int:
        """The owner of the cluster's files, seen from the caller."""
        return self.owner[0] if self.owner else os.geteuid()

    @property
    def passes(self) -> bool:
        """Whether no folder is closed to it."""
        return self.identity.endswith("+pass")

    def give(self, path: Path) -> None:
        """Make the file or folder the account's own."""
        if self.owner:
            os.chown(path, *self.owner, follow_symlinks=False)

    def give_whole(self, folder: Path) -> None:
        """Make all that is in the folder the account's own. The folder goes last: a process that is
        killed before that finds it as it was.
        """
        owner = self.owner or (os.geteuid(), os.getegid())
        for place, _, names in os.walk(folder, topdown=False):
            for path in (*(Path(place, name) for name in names), Path(place)):
                os.chown(path, *owner, follow_symlinks=False)

    def run(self, doing: str, command: Sequence[str | Path], deadline: float) -> None:
        """Run a program to its end. Raises `EmbeddedPostgresError` when it fails or is still
        running at the deadline (monotonic seconds).
        """
        self._execute(doing, "", command, max(deadline - time.monotonic(), 0.0))

    def launch(self, doing: str, command: Sequence[str | Path], log: Path) -> int:
        """Start a program detached, with its output appended to the log, and return its
        process id.
        """
        return int(self._execute(doing, str(log), command, _LAUNCH_SECONDS))

    def _execute(self, doing: str, log: str, command: Sequence[str | Path], seconds: float) -> str:
        kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
        try:
            answer = subprocess.run(
                [sys.executable, "-I", "-S", run_as.__file__, self.identity, log, *command],
                cwd=os.sep,
                env=kept | {"LC_ALL": "C"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=False,
                timeout=seconds,
            )
        except subprocess.TimeoutExpired as error:
            raise EmbeddedPostgresError(doing, f"not done after {error.timeout:.1f} s") from error
        except OSError as error:
            raise EmbeddedPostgresError(doing, str(error)) from error
        if answer.returncode:
            said = (answer.stderr or answer.stdout).decode(errors="replace").strip()
            found = f"{said[-1500:]} (exit status {answer.returncode})"
            raise EmbeddedPostgresError(doing, found)
        return answer.stdout.decode(errors="replace")


PREFERRED = ("flowsync", "postgres", "nobody")
_TRIAL_SECONDS = 30.0
_LAST_UID = 65534


def owner_of(cluster: Path, binaries: Binaries) -> SystemUser:
    """Return who runs an existing cluster. Raises `EmbeddedPostgresError` when the caller cannot be
    that user.
    """
    found = cluster.stat()
    caller = os.geteuid()
    if found.st_uid == caller:
        return in_namespace() if caller == 0 else _own_account()
    if caller == 0:
        return _reaching(found.st_uid, found.st_gid, binaries, cluster)
    raise EmbeddedPostgresError(
        f"opening the cluster {cluster}",
        f"it belongs to user {found.st_uid}, this process runs as user {caller}",
        "run as that user, or choose another home",
    )


def choose_account(binaries: Binaries, folder: Path) -> SystemUser:
    """Return who shall make and run a new cluster in the folder. Raises `EmbeddedPostgresError`
    with every refusal when no account can.
    """
    caller = os.geteuid()
    if caller != 0 and _has_name(caller):
        return _own_account()
    refusals: list[str] = []
    for name, account in _candidates(binaries, folder, caller):
        refusal = _refusal(name, account, binaries)
        if refusal is None:
            return account
        refusals.append(f"as {name}: {refusal}")
    raise EmbeddedPostgresError(
        f"choosing who runs the server in {folder}",
        "; ".join(refusals),
        "run as a user that is not root and has a name, or set FLOWSYNC_DATABASE_URL to a "
        "PostgreSQL server",
    )


def able(account: SystemUser, cluster: Path, binaries: Binaries) -> SystemUser:
    """Return who can run the existing cluster, whose server is stopped: its owner, as a rule.

    A cluster of root's is given to another account where the kernel permits no user namespace.
    Raises `EmbeddedPostgresError` when no account can run it.
    """
    if os.geteuid() != 0 or account.owner or _refusal("namespace", account, binaries) is None:
        return account
    other = choose_account(binaries, cluster)
    other.give_whole(cluster)
    return other


def setuid(uid: int, gid: int, *, passing: bool = False) -> SystemUser:
    """Return the account of that user and group, without further groups. Only root can use it.
    `passing`: no folder is closed to it.
    """
    return SystemUser(identity=f"account:{uid}:{gid}{'+pass' if passing else ''}", owner=(uid, gid))


def in_namespace() -> SystemUser:
    """Return the caller's own account, seen by the programs as an ordinary user with a name."""
    return SystemUser(identity=f"namespace:{_named_uid()}")


def reachable(path: Path, uid: int) -> bool:
    """Whether the user may pass every folder down to the path, and enter or execute it. Groups are
    left out: in doubt, no.
    """
    real = Path(os.path.realpath(path))
    return all(_may_pass(part.stat(), uid) for part in (real, *real.parents))


def _may_pass(found: os.stat_result, uid: int) -> bool:
    bit = stat.S_IXUSR if found.st_uid == uid else stat.S_IXOTH
    return bool(found.st_mode & bit)


def _has_name(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def _candidates(binaries: Binaries, folder: Path, caller: int) -> list[tuple[str, SystemUser]]:
    hidden = ("namespace", in_namespace())
    if caller != 0:
        own = _own_account()
        named = setuid(_named_uid(), os.getegid(), passing=True)
        makers = [("another user", named), hidden] if own.passes else [hidden]
        return [(name, msgspec.structs.replace(own, maker=maker)) for name, maker in makers]
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    accounts = [
        (name, _reaching(known[name].pw_uid, known[name].pw_gid, binaries, folder))
        for name in PREFERRED
        if name in known
    ]
    as_they_are = [found for found in accounts if not found[1].passes]
    return [*as_they_are, hidden, *(found for found in accounts if found[1].passes)]


def _reaching(uid: int, gid: int, binaries: Binaries, folder: Path) -> SystemUser:
    """Return the account of a user that reaches programs and folder: as it is, or with the right to
    pass what is closed to it.
    """
    as_it_is = reachable(binaries.postgres, uid) and reachable(folder, uid)
    return setuid(uid, gid, passing=not as_it_is)


def _own_account() -> SystemUser:
    """Return the caller's own account. A caller that is not root and may pass all folders
    (`home.py`) lets the server do that too.
    """
    return SystemUser(identity="self+pass") if _passes_all() else SystemUser()


def _passes_all() -> bool:
    status = Path("/proc/self/status").read_text(errors="replace")
    effective = int(status.partition("CapEff:")[2].split()[0], 16)
    return any(effective >> number & 1 for number in PASSING)


def _refusal(name: str, account: SystemUser, binaries: Binaries) -> str | None:
    """Run `postgres --version` under the account and return what was said when that did not go
    well.
    """
    doing = f"running postgres as {name}"
    deadline = time.monotonic() + _TRIAL_SECONDS
    try:
        for each in (account.maker, account):
            if each is not None:
                each.run(doing, [binaries.postgres, "--version"], deadline)
    except EmbeddedPostgresError as error:
        return error.found
    return None


def _named_uid() -> int:
    """Return a user number with a name, to be seen under: `nobody`'s, or the first that is not
    root's.
    """
    uids = [entry.pw_uid for entry in pwd.getpwall() if entry.pw_uid != 0]
    return _LAST_UID if _LAST_UID in uids or not uids else uids[0]


# Whether a server that ended without a word had no room on its disk: its words go to a file there,
# and are lost with it.

_NEEDED: Final = 16 << 20
"""Bytes that a start may take: a segment of the log."""

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


def lack_of_room(folder: Path) -> str | None:
    """Return what the system says when a server needs room in the folder and there is none; `None`
    when there is.
    """
    try:
        disk = os.statvfs(folder)
        free = disk.f_bavail * disk.f_frsize
        if free < _NEEDED:
            return f"{os.strerror(errno.ENOSPC)}: {free} bytes are free in {folder}"
        # What a quota leaves, nobody tells but the attempt.
        with tempfile.TemporaryFile(dir=folder) as probe:
            os.posix_fallocate(probe.fileno(), 0, _NEEDED)
    except OSError as error:
        return f"{error.strerror}: {folder}" if error.errno in _FULL else None
    return None
