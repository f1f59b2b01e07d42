"""Who runs PostgreSQL."""

import os
from pathlib import Path

import pytest

from flowsync.embedded_postgres.binaries import Binaries
from flowsync.embedded_postgres.ownership import (
    SystemUser,
    choose_account,
    owner_of,
    reachable,
    setuid,
)
from flowsync.errors import EmbeddedPostgresError

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs the rights of root")
STRANGER = 54321


def programs(folder: Path, script: str = "exit 0") -> Binaries:
    (folder / "postgres").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "postgres").chmod(0o755)
    return Binaries(folder=folder, version="18.4", major=18)


def test_folder_that_others_may_pass_is_reachable() -> None:
    assert reachable(Path("/usr/bin/env"), STRANGER)


def test_closed_folder_on_the_way_makes_unreachable(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    (closed / "open").mkdir(mode=0o755)

    assert not reachable(closed / "open", STRANGER)


def test_links_are_followed_before_judging(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    link = tmp_path / "link"
    link.symlink_to(closed)

    assert not reachable(link, STRANGER)


def test_file_that_others_may_not_execute_is_unreachable(tmp_path: Path) -> None:
    (tmp_path / "program").touch(mode=0o644)

    assert not reachable(tmp_path / "program", STRANGER)


@pytest.mark.skipif(os.geteuid() == 0, reason="for a plain user")
def test_plain_user_runs_it_as_themselves(tmp_path: Path) -> None:
    assert choose_account(programs(tmp_path), tmp_path) == SystemUser()
    assert owner_of(tmp_path, programs(tmp_path)) == SystemUser()


@needs_root
def test_roots_cluster_is_run_in_a_namespace(tmp_path: Path) -> None:
    account = owner_of(tmp_path, programs(tmp_path))

    assert account.identity.startswith("namespace:")
    assert account.owner is None


@needs_root
def test_cluster_of_another_user_is_run_by_its_owner(tmp_path: Path) -> None:
    binaries = programs(tmp_path)
    os.chown(tmp_path, STRANGER, 54320)

    account = owner_of(tmp_path, binaries)

    # The folders above are closed to that user.
    assert account == setuid(STRANGER, 54320, passing=True)
    assert account.identity == "account:54321:54320+pass"


@needs_root
@pytest.mark.usefixtures("namespaces")
def test_root_never_opens_a_closed_folder_for_the_server(tmp_path: Path) -> None:
    folder = tmp_path / "home"
    folder.mkdir(mode=0o700)

    account = choose_account(programs(tmp_path), folder)

    assert account.identity.startswith("namespace:")
    assert folder.stat().st_mode & 0o777 == 0o700


@needs_root
@pytest.mark.usefixtures("namespaces")
def test_when_nobody_can_run_it_every_refusal_is_told(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedPostgresError) as caught:
        choose_account(programs(tmp_path, "echo kernel says no; exit 5"), tmp_path)

    assert "as namespace: kernel says no (exit status 5)" in str(caught.value)
    assert "as nobody: kernel says no (exit status 5)" in str(caught.value)
    assert "run as a user that is not root" in str(caught.value)


@needs_root
def test_account_gives_away_new_folders(tmp_path: Path) -> None:
    setuid(STRANGER, 54320).give(tmp_path)

    assert (tmp_path.stat().st_uid, tmp_path.stat().st_gid) == (STRANGER, 54320)
