"""Who the server runs as: root never, a plain user as themselves."""

import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from flowsync.embedded_postgres import postmaster
from flowsync.embedded_postgres.server import EmbeddedPostgres
from flowsync.embedded_postgres.sockets import conninfo
from flowsync.runtime import run_as
from tests.integration.embedded_postgres.processes import REPOSITORY, Holder, servers_of, user_of

Hold = Callable[..., Holder]

PLAIN_USER = 65534
PASSING_ONLY = {2}
"""Rights of root's: to read and pass all (CAP_DAC_READ_SEARCH)."""
PACKAGES = sysconfig.get_path("platlib")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become someone else")


def namespace_of(uid: int) -> list[str]:
    """Return the start of a command that runs as that user, seen from inside of a namespace."""
    return [sys.executable, "-I", "-S", run_as.__file__, f"namespace:{uid}", "", sys.executable]


@pytest.fixture(scope="module")
def handed_over(open_home: Path) -> EmbeddedPostgres:
    """Return a stopped server that root made in a folder where others can run it."""
    server = EmbeddedPostgres(open_home / "database")
    server.start(timeout=40.0)
    assert server.stop()
    if server.data_folder.stat().st_uid == 0:
        pytest.skip("no account can reach the programs of PostgreSQL")
    return server


@pytest.fixture(scope="module")
def as_plain_user() -> dict[str, object]:
    """Return how a holder is run as another user; needs an interpreter that they can reach, with
    flowsync and all it needs.
    """
    environment = {"PYTHONPATH": f"{REPOSITORY}:{PACKAGES}"}
    for python in (sys.executable, "/usr/bin/python3"):
        try:
            tried = subprocess.run(
                [python, "-c", "import psycopg, flowsync.embedded_postgres.server"],
                cwd="/",
                env=environment,
                capture_output=True,
                user=PLAIN_USER,
                group=PLAIN_USER,
                extra_groups=[],
                check=False,
            )
        except OSError:
            continue
        if tried.returncode == 0:
            return {"python": [python], "environment": environment, "user": PLAIN_USER}
    pytest.skip("no interpreter and packages that a plain user can reach")


@pytest.fixture(scope="module")
def confined() -> list[str]:
    """Return the start of a command of root's in surroundings like those of a container with the
    usual profile.
    """
    prefix = [sys.executable, "-I", "-S", str(REPOSITORY / "tests" / "confined.py")]
    tried = subprocess.run([*prefix, "/bin/true"], capture_output=True, check=False, text=True)
    if tried.returncode:
        pytest.skip(f"no filter of system calls here: {tried.stderr.strip()}")
    return [*prefix, sys.executable]


def rights_of(pid: int) -> set[int]:
    """Return the numbers of the rights of root (capabilities) that a process has."""
    status = Path(f"/proc/{pid}/status").read_text()
    effective = int(status.partition("CapEff:")[2].split()[0], 16)
    return {number for number in range(64) if effective >> number & 1}


def conninfo_of(database: Path) -> str:
    cluster = database / "pg18"
    return conninfo(postmaster.socket_folder(cluster), "postgres")


@pytest.fixture(scope="module")
def namespaces() -> None:
    """Skip where the kernel refuses user namespaces."""
    command = [*namespace_of(1000), "-c", ""]
    tried = subprocess.run(command, capture_output=True, check=False, text=True)
    if tried.returncode:
        pytest.skip(f"no user namespaces here: {tried.stderr.strip()}")


@needs_root
def test_root_hands_the_server_to_an_account_without_any_group_of_root(
    handed_over: EmbeddedPostgres,
) -> None:
    handed_over.start()
    (pid,) = servers_of(handed_over.folder)

    assert user_of(pid) == handed_over.data_folder.stat().st_uid != 0
    status = (Path("/proc") / str(pid) / "status").read_text()
    assert status.split("Groups:")[1].splitlines()[0].strip() == ""
    assert handed_over.stop() is True


@needs_root
def test_account_can_reach_a_socket_beside_a_long_path(handed_over: EmbeddedPostgres) -> None:
    long = handed_over.folder / ("l" * 120)
    long.mkdir(mode=0o711)
    handed_over.data_folder.rename(long / "pg18")
    server = EmbeddedPostgres(long)

    server.start()

    assert len(os.fsencode(server.data_folder)) > 107
    assert server.stop() is True
    (long / "pg18").rename(handed_over.folder / "pg18")


@needs_root
def test_folder_of_root_is_refused_to_a_plain_user_with_a_reason(
    handed_over: EmbeddedPostgres, hold: Hold, as_plain_user: dict[str, object]
) -> None:
    user = hold(handed_over.folder, **as_plain_user)

    with pytest.raises(AssertionError, match=r"opening the lock .*start\.lock: Permission denied"):
        user.wait_ready()


@needs_root
def test_folder_closed_to_the_owner_of_the_cluster_is_passed_by_a_right_of_root(
    handed_over: EmbeddedPostgres,
) -> None:
    handed_over.folder.chmod(0o700)

    handed_over.start()

    (pid,) = servers_of(handed_over.folder)
    assert user_of(pid) == handed_over.data_folder.stat().st_uid != 0
    assert rights_of(pid) == PASSING_ONLY
    assert handed_over.stop() is True
    handed_over.folder.chmod(0o711)


@needs_root
def test_root_without_user_namespaces_makes_and_runs_it_in_a_closed_folder(
    confined: list[str], home: Path, hold: Hold
) -> None:
    closed = home / "closed"
    closed.mkdir(mode=0o700)
    holder = hold(closed / "database", python=confined)

    holder.wait_ready()

    (pid,) = servers_of(closed)
    assert user_of(pid) != 0
    assert rights_of(pid) == {1}
    assert closed.stat().st_mode & 0o777 == 0o700
    assert holder.let_go() is True
    # Outside of the container, root runs it as that account.
    outside = EmbeddedPostgres(closed / "database")
    outside.start()
    assert outside.stop() is True


@needs_root
def test_programs_of_the_server_may_lie_in_a_closed_folder_too(
    confined: list[str], tmp_path: Path
) -> None:
    """Symptom: initdb called itself an invalid binary below /root: access(2) counts no rights that
    are kept.
    """
    closed = tmp_path / "root"
    closed.mkdir(mode=0o700)
    program = closed / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    asks = f"import os; print(os.access({str(program)!r}, os.R_OK | os.X_OK))"
    account = [*confined, run_as.__file__, f"account:{PLAIN_USER}:{PLAIN_USER}+pass", ""]

    done = subprocess.run(
        [*account, "/usr/bin/python3", "-I", "-S", "-c", asks],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
    )

    assert (done.stdout, done.stderr) == ("True\n", "")


@needs_root
def test_cluster_that_root_made_in_a_namespace_is_run_where_there_are_none(
    namespaces: None, confined: list[str], home: Path, database: Path, hold: Hold
) -> None:
    home.chmod(0o700)
    first = EmbeddedPostgres(database)
    first.start()
    with psycopg.connect(first.conninfo()) as connection:
        connection.execute("CREATE TABLE kept (number int)")
    assert first.stop() is True
    before = first.data_folder.stat()
    assert before.st_uid == 0
    holder = hold(database, python=confined)

    holder.wait_ready()

    with psycopg.connect(conninfo_of(database)) as connection:
        connection.execute("DROP TABLE kept")
    assert holder.let_go() is True
    assert first.data_folder.stat().st_uid != 0
    for path in (first.data_folder, *first.data_folder.rglob("*")):
        os.chown(path, before.st_uid, before.st_gid)


@needs_root
def test_where_nobody_can_run_it_every_refusal_and_a_way_out_are_told(
    namespaces: None, confined: list[str], home: Path, hold: Hold
) -> None:
    """The root of a container with a single user, where no further namespace can be made."""
    holder = hold(home / "database", python=[*namespace_of(0)[:-1], *confined])

    with pytest.raises(AssertionError) as caught:
        holder.wait_ready()

    assert "as namespace: " in str(caught.value)
    assert "unshare of a user namespace: Operation not permitted" in str(caught.value)
    assert "as nobody: " in str(caught.value)
    assert "set FLOWSYNC_DATABASE_URL" in str(caught.value)


@needs_root
def test_cluster_of_someone_else_is_refused_to_a_plain_user_by_name(
    open_home: Path, hold: Hold, as_plain_user: dict[str, object]
) -> None:
    mixed = open_home / "mixed"
    (mixed / "pg18").mkdir(parents=True)
    (mixed / "pg18" / "PG_VERSION").write_text("18\n")
    os.chown(mixed, PLAIN_USER, PLAIN_USER)

    user = hold(mixed, **as_plain_user)

    with pytest.raises(AssertionError, match="belongs to user 0, this process runs as user 65534"):
        user.wait_ready()


@needs_root
def test_plain_user_runs_it_and_root_joins_and_later_starts_it_as_that_user(
    open_home: Path, hold: Hold, as_plain_user: dict[str, object]
) -> None:
    (open_home / "mine").mkdir()
    os.chown(open_home / "mine", PLAIN_USER, PLAIN_USER)
    database = open_home / "mine" / "database"

    user = hold(database, **as_plain_user)
    user.wait_ready()
    (pid,) = servers_of(database)
    assert user_of(pid) == PLAIN_USER
    root = EmbeddedPostgres(database)
    root.start()
    assert [user.let_go(), root.stop()] == [False, True]

    root.start()
    (pid,) = servers_of(database)
    assert user_of(pid) == PLAIN_USER
    assert root.stop() is True


@needs_root
def test_root_in_a_closed_folder_runs_it_in_a_namespace_and_opens_nothing(
    namespaces: None, home: Path, database: Path
) -> None:
    home.chmod(0o700)
    server = EmbeddedPostgres(database)
    server.start()
    (pid,) = servers_of(home)

    assert os.readlink(f"/proc/{pid}/ns/user") != os.readlink("/proc/self/ns/user")
    assert server.data_folder.stat().st_uid == 0
    assert home.stat().st_mode & 0o777 == 0o700
    assert server.stop() is True


@pytest.mark.parametrize("uid", [0, PLAIN_USER], ids=["root", "user"])
def test_the_one_user_of_a_container_runs_it(
    namespaces: None, database: Path, hold: Hold, uid: int
) -> None:
    """In such a namespace there is no other account to change to."""
    holder = hold(database, python=namespace_of(uid))

    holder.wait_ready()

    assert holder.let_go() is True


def test_user_without_a_name_makes_and_runs_it(namespaces: None, home: Path, hold: Hold) -> None:
    holder = hold(home / "database", python=namespace_of(54321))

    holder.wait_ready()

    assert holder.let_go() is True
