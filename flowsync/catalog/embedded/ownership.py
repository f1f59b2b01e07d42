"""Who runs PostgreSQL: the rules that choose the account. PostgreSQL itself refuses to run as root.

1. An existing cluster is run by whoever owns it: root's by root inside a user namespace, any other by its owner.
2. A plain user runs it as themselves; one without a name (a container started with a bare user number), inside a user namespace, because
   `initdb` asks for the name.
3. Root hands a new cluster to the account `flowsync`, `postgres` or `nobody`, the first that exists and can reach the programs and the folder
   as they are: no permission of an existing folder is ever changed to make it reachable.
4. Where none can (programs below root's own home, a folder closed to others, no such account, a container with a single user), root runs
   it inside a user namespace, in which it is an ordinary user while its files stay root's.
5. What was chosen for a new cluster has run `postgres --version` first, so that a refusal of the kernel is known before anything is written.
"""

import os
import pwd
import stat
import time
from pathlib import Path

from flowsync.catalog.embedded.account import Account
from flowsync.catalog.embedded.binaries import Binaries
from flowsync.model.errors import EmbeddedPostgresError

PREFERRED = ("flowsync", "postgres", "nobody")
_TRIAL_SECONDS = 30.0
_LAST_UID = 65534


def owner_of(cluster: Path) -> Account:
    """Return who runs an existing cluster. Raises `EmbeddedPostgresError` when the caller cannot be that user."""
    found = cluster.stat()
    caller = os.geteuid()
    if found.st_uid == caller:
        return in_namespace() if _must_hide(caller) else Account()
    if caller == 0:
        return setuid(found.st_uid, found.st_gid)
    raise EmbeddedPostgresError(
        f"opening the cluster {cluster}",
        f"it belongs to user {found.st_uid}, this process runs as user {caller}",
        "run as that user, or choose another home",
    )


def choose_account(binaries: Binaries, folder: Path) -> Account:
    """Return who shall make and run a new cluster in the folder. Raises `EmbeddedPostgresError` with every refusal when nobody can."""
    caller = os.geteuid()
    if not _must_hide(caller):
        return Account()
    refusals: list[str] = []
    for name, account in [*_accounts(binaries, folder, caller), ("namespace", in_namespace())]:
        try:
            account.run(
                f"running postgres as {name}",
                [binaries.postgres, "--version"],
                time.monotonic() + _TRIAL_SECONDS,
            )
        except EmbeddedPostgresError as error:
            refusals.append(f"as {name}: {error.found}")
        else:
            return account
    raise EmbeddedPostgresError(
        f"choosing who runs the server in {folder}",
        "; ".join(refusals),
        "run as a user that is not root and has a name, or choose a home that an account such "
        "as 'postgres' can reach (others may pass through every folder above it)",
    )


def setuid(uid: int, gid: int) -> Account:
    """Return the account of that user and group, without further groups. Only root can use it."""
    return Account(identity=f"account:{uid}:{gid}", owner=(uid, gid))


def in_namespace() -> Account:
    """Return the caller's own account, seen by the programs as an ordinary user with a name."""
    return Account(identity=f"namespace:{_named_uid()}")


def reachable(path: Path, uid: int) -> bool:
    """Whether the user may pass every folder down to the path, and enter or execute it. Groups are left out: in doubt, no."""
    real = Path(os.path.realpath(path))
    return all(_may_pass(part.stat(), uid) for part in (real, *real.parents))


def _may_pass(found: os.stat_result, uid: int) -> bool:
    bit = stat.S_IXUSR if found.st_uid == uid else stat.S_IXOTH
    return bool(found.st_mode & bit)


def _must_hide(uid: int) -> bool:
    """Whether PostgreSQL would refuse to be run by this user: root, or one without a name."""
    if uid == 0:
        return True
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return True
    return False


def _accounts(binaries: Binaries, folder: Path, caller: int) -> list[tuple[str, Account]]:
    if caller != 0:
        return []
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    return [
        (name, setuid(known[name].pw_uid, known[name].pw_gid))
        for name in PREFERRED
        if name in known
        and reachable(binaries.postgres, known[name].pw_uid)
        and reachable(folder, known[name].pw_uid)
    ]


def _named_uid() -> int:
    """Return a user number with a name, to be seen under: `nobody`'s, or the first that is not root's."""
    uids = [entry.pw_uid for entry in pwd.getpwall() if entry.pw_uid != 0]
    return _LAST_UID if _LAST_UID in uids or not uids else uids[0]
