"""Who the server runs as: root never, a plain user as themselves."""

import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest

from flowsync.catalog.embedded import EmbeddedPostgres, run_as
from flowsync.model.errors import EmbeddedPostgresError
from tests.integration.catalog_embedded.processes import REPOSITORY, Holder, servers_of, user_of

Hold = Callable[..., Holder]

PLAIN_USER = 65534
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
    """Return how a holder is run as another user; needs an interpreter that they can reach, with flowsync and all it needs."""
    environment = {"PYTHONPATH": f"{REPOSITORY}:{PACKAGES}"}
    for python in (sys.executable, "/usr/bin/python3"):
        try:
            tried = subprocess.run(
                [python, "-c", "import psycopg, flowsync.catalog.embedded"],
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
def test_folder_closed_to_the_owner_of_the_cluster_is_an_error_that_names_it(
    handed_over: EmbeddedPostgres,
) -> None:
    handed_over.folder.chmod(0o700)

    with pytest.raises(EmbeddedPostgresError) as caught:
        handed_over.start()

    handed_over.folder.chmod(0o711)
    assert f"starting the server of {handed_over.data_folder}: " in str(caught.value)
    assert "Permission denied" in str(caught.value)


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
