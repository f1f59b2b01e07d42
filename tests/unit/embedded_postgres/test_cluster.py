"""Making clusters. `initdb` is a shell script here; the real one is in the integration tests."""

import time
from pathlib import Path

import pytest

from flowsync.embedded_postgres.binaries import Binaries
from flowsync.embedded_postgres.cluster import (
    cluster_folder,
    existing_majors,
    make_cluster,
    make_folder,
)
from flowsync.embedded_postgres.ownership import SystemUser
from flowsync.errors import EmbeddedPostgresError


def binaries(folder: Path, script: str) -> Binaries:
    folder.mkdir()
    (folder / "initdb").write_text(f"#!/bin/sh\nfolder=${{1#--pgdata=}}\n{script}\n")
    (folder / "initdb").chmod(0o755)
    return Binaries(folder=folder, version="18.4", major=18)


def soon() -> float:
    return time.monotonic() + 20.0


def test_folder_names_the_major_version() -> None:
    assert cluster_folder(Path("/home/database"), 18) == Path("/home/database/pg18")


def test_only_complete_clusters_count(tmp_path: Path) -> None:
    for name in ("pg15", "pg18", "pgadmin", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "PG_VERSION").touch()
    (tmp_path / "pg19").mkdir()

    assert sorted(existing_majors(tmp_path)) == [15, 18]
    assert existing_majors(tmp_path / "none") == []


def test_cluster_is_complete_or_absent(tmp_path: Path) -> None:
    home = tmp_path / "home"
    make_folder(home)
    programs = binaries(tmp_path / "bin", "touch $folder/PG_VERSION; test ! -e $folder/../pg18")

    make_cluster(home / "pg18", programs, SystemUser(), soon())

    assert [path.name for path in home.iterdir()] == ["pg18"]
    assert (home / "pg18").stat().st_mode & 0o777 == 0o700
    assert existing_majors(home) == [18]


def test_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    home = tmp_path / "home"
    make_folder(home)
    script = "touch $folder/PG_VERSION; echo no space left >&2; exit 1"
    programs = binaries(tmp_path / "bin", script)

    with pytest.raises(EmbeddedPostgresError, match=r"making the cluster .*/pg18: no space left"):
        make_cluster(home / "pg18", programs, SystemUser(), soon())

    assert list(home.iterdir()) == []


def test_what_a_killed_maker_left_is_removed(tmp_path: Path) -> None:
    leftover = tmp_path / ".init-abc"
    leftover.mkdir()
    (leftover / "PG_VERSION").touch()
    programs = binaries(tmp_path / "bin", "true")

    make_cluster(tmp_path / "pg18", programs, SystemUser(), soon())

    assert sorted(path.name for path in tmp_path.iterdir()) == ["bin", "pg18"]


def test_something_else_in_the_place_of_the_cluster_is_kept_and_named(tmp_path: Path) -> None:
    (tmp_path / "pg18").mkdir()
    (tmp_path / "pg18" / "letter").write_text("dear all")
    programs = binaries(tmp_path / "bin", "true")

    with pytest.raises(EmbeddedPostgresError, match=r"Directory not empty.*pg18"):
        make_cluster(tmp_path / "pg18", programs, SystemUser(), soon())

    assert (tmp_path / "pg18" / "letter").read_text() == "dear all"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bin", "pg18"]


def test_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(EmbeddedPostgresError) as caught:
        make_folder(tmp_path / "file" / "database")

    assert str(caught.value) == (
        f"embedded PostgreSQL: making the folder {tmp_path}/file/database: [Errno 17] File exists: "
        f"'{tmp_path}/file'; choose a home that this user can write"
    )
