"""Running programs under an identity. The programs are shell commands that fail, so that what they
print comes back in the error.
"""

import os
import time
from pathlib import Path

import pytest

from flowsync.embedded_postgres.ownership import SystemUser, in_namespace, setuid
from flowsync.errors import EmbeddedPostgresError

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become someone else")


def soon() -> float:
    return time.monotonic() + 20.0


def output(account: SystemUser, script: str) -> str:
    with pytest.raises(EmbeddedPostgresError) as caught:
        account.run("trying", ["/bin/sh", "-c", f"({script}) >&2; exit 3"], soon())
    text, _, status = caught.value.found.rpartition(" (")
    assert status == "exit status 3)"
    return text


def test_program_that_succeeds_raises_nothing() -> None:
    SystemUser().run("trying", ["/bin/true"], soon())


def test_failure_says_what_was_tried_and_what_the_program_said() -> None:
    with pytest.raises(EmbeddedPostgresError) as caught:
        SystemUser().run("making bread", ["/bin/sh", "-c", "echo no flour >&2; exit 1"], soon())

    assert str(caught.value) == "embedded PostgreSQL: making bread: no flour (exit status 1)"


def test_missing_program_is_named() -> None:
    with pytest.raises(EmbeddedPostgresError, match=r"No such file.*exit status 126"):
        SystemUser().run("trying", ["/none/such"], soon())


def test_program_that_takes_too_long_is_an_error() -> None:
    with pytest.raises(EmbeddedPostgresError, match=r"trying: not done after 0\.\d s"):
        SystemUser().run("trying", ["/bin/sh", "-c", "exec sleep 30"], time.monotonic() + 0.2)


def test_program_sees_neither_settings_nor_secrets_of_the_caller(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PGPORT", "1")
    monkeypatch.setenv("API_TOKEN", "secret")
    monkeypatch.setenv("LANG", "de_DE.UTF-8")

    names = {line.partition("=")[0] for line in output(SystemUser(), "env").splitlines()}

    assert names - {"PWD", "SHLVL", "_", "OLDPWD"} <= {"PATH", "LD_LIBRARY_PATH", "LC_ALL"}


def test_program_runs_in_the_root_folder() -> None:
    assert output(SystemUser(), "pwd") == "/"


@needs_root
def test_account_has_no_group_of_root_left() -> None:
    assert output(setuid(65534, 65533), "id -u; id -g; id -G").split() == [
        "65534",
        "65533",
        "65533",
    ]


@needs_root
@pytest.mark.usefixtures("namespaces")
def test_namespace_hides_root_but_files_stay_its_own(tmp_path: Path) -> None:
    made = tmp_path / "made"

    assert output(in_namespace(), f"touch '{made}'; id -u") != "0"
    assert made.stat().st_uid == 0


def test_launched_program_is_detached_and_writes_to_a_closed_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    done = tmp_path / "done"
    os.mkfifo(done)

    script = f"echo session $(cut -d ' ' -f 6 /proc/$$/stat); echo end >'{done}'"
    pid = SystemUser().launch("trying", ["/bin/sh", "-c", script], log)

    assert done.read_text() == "end\n"
    assert log.read_text().split() == ["session", str(pid)]
    assert log.stat().st_mode & 0o777 == 0o600


def test_launch_of_a_missing_program_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedPostgresError, match="No such file"):
        SystemUser().launch("trying", ["/none/such"], tmp_path / "log")


def test_launch_with_a_log_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedPostgresError, match=r"No such file.*none/log"):
        SystemUser().launch("trying", ["/bin/true"], tmp_path / "none" / "log")
