"""Arguments, environments and working directories that are out of the ordinary: told in one line,
or they work.
"""

import os
from pathlib import Path

import pytest

from tests.system.command import CommandLine, Done
from tests.system.publishing import publish
from tests.upstream.server import Upstream

NOT_UTF_8 = os.fsdecode(b"caf\xe9")


@pytest.fixture(scope="module")
def flowsync(tmp_path_factory: pytest.TempPathFactory, shared_conninfo: str) -> CommandLine:
    return CommandLine(tmp_path_factory.mktemp("odd"), database_url=shared_conninfo)


@pytest.fixture(scope="module")
def synced(flowsync: CommandLine, shared_upstream: Upstream) -> Done:
    return flowsync.run("sync", "file", publish(shared_upstream, {"a": b"1"}), "-r", "files")


@pytest.mark.parametrize("number", ["3000000000"])
@pytest.mark.parametrize(
    "arguments",
    [
        ("show", "files", "{}"),
        ("diff", "files", "1", "{}"),
        ("diff", "files", "{}", "1"),
        ("export", "files", "out", "--version", "{}"),
        ("why", "files", "a", "--version", "{}"),
        ("rollback", "files", "{}"),
        ("delete", "files", "{}"),
        ("protect", "files", "{}"),
        ("unprotect", "files", "{}"),
        ("reclaim", "files", "{}"),
        ("runs", "--id", "{}"),
    ],
)
def test_a_number_that_no_version_can_have_is_not_found(
    flowsync: CommandLine, synced: Done, arguments: tuple[str, ...], number: str
) -> None:
    done = flowsync.run(*(argument.format(number) for argument in arguments))

    assert (done.status, done.out) == (1, "")
    (line,) = done.err.splitlines()
    assert number in line
    assert "statement" not in line


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (("runs", "--limit", "99999999999999999999"), 0),
        (("reclaim", "files", "--keep-latest", "99999999999999999999"), 0),
        (("prune", "--older-than", "99999999999999999999d"), 2),
        (("verify", "--limit", "9" * 400), 2),
        (("acs", "add", "near", "file", "http://h/", "--priority", "3000000000"), 2),
        (("show", "files", "9" * 5000), 2),
        (("show", "files", "--", "-1"), 1),
        (("show", "files", "2147483648"), 1),
        (("show", "files", "99999999999999999999"), 1),
        (("sync", "files", "--workers", "9" * 30), 2),
        (("sync", "files", "--workers", "100000"), 2),
        (("sync", "files", "--workers", "-1"), 2),
        (("verify", "--limit", "9" * 30), 2),
        (("verify", "--limit", "0.0000000001"), 2),
        (("serve", "--bind", "99999"), 2),
    ],
)
def test_other_numbers_without_bounds_are_bounded(
    flowsync: CommandLine, synced: Done, arguments: tuple[str, ...], status: int
) -> None:
    done = flowsync.run(*arguments)

    assert done.status == status
    assert "Traceback" not in done.err
    assert "statement" not in done.err


@pytest.mark.parametrize("share", ["nan", "NaN", "-nan", "inf", "-inf", "-0.1", "1.5", "1e300"])
def test_a_share_that_is_none_empties_no_mirror(
    flowsync: CommandLine, shared_upstream: Upstream, share: str
) -> None:
    full = publish(shared_upstream, {"a": b"1"}, "/full")
    empty = publish(shared_upstream, {}, "/empty")
    flowsync.run("sync", "file", full, "-r", "shares", "--mirror")

    options = ("file", empty, "-r", "shares", "--mirror", "--max-removal", share)
    done, planned = flowsync.run("sync", *options), flowsync.run("plan", *options)

    assert (done.status, planned.status) == (2, 2)
    assert "--max-removal" in done.err
    assert flowsync.run("show", "shares").out != ""


@pytest.mark.parametrize(
    "line",
    [
        "max_removal = nan",
        "max_removal = inf",
        "max_removal = -0.5",
        "timeout = nan",
        "timeout = inf",
        "timeout = -1",
        "max_errors = -1",
        "max_errors = 99999999999",
        "retain_versions = 0",
        "remote = { total_timeout = nan }",
        "remote = { rate_limit = inf }",
        "remote = { max_retries = -1 }",
    ],
)
def test_numbers_of_a_repository_that_cannot_be_are_named(
    flowsync: CommandLine, tmp_path: Path, line: str
) -> None:
    (tmp_path / "flowsync.toml").write_text(
        f'[repositories.a]\nsource = "file"\nurl = "http://h/"\n{line}\n'
    )

    done = flowsync.run("--config", str(tmp_path / "flowsync.toml"), "sync")

    assert (done.status, "Traceback" in done.err) == (2, False)
    assert "repository 'a'" in done.err


@pytest.mark.parametrize(
    "field",
    ["workers", "hash_workers", "max_connections", "syncs_at_once", "in_flight_bytes"],
)
@pytest.mark.parametrize("value", ["nan", "-1", "9223372036854775807", '"3"'])
def test_numbers_of_the_settings_that_cannot_be_are_named(
    flowsync: CommandLine, tmp_path: Path, field: str, value: str
) -> None:
    (tmp_path / "flowsync.toml").write_text(f"{field} = {value}\n")

    done = flowsync.run("--config", str(tmp_path / "flowsync.toml"), "status")

    assert (done.status, "Traceback" in done.err) == (2, False)
    assert field in done.err


def test_a_number_in_the_settings_that_the_catalog_cannot_hold_is_named(
    flowsync: CommandLine, tmp_path: Path
) -> None:
    (tmp_path / "flowsync.toml").write_text(
        '[repositories.a]\nsource = "file"\nurl = "http://h/"\nretain_versions = 99999999999\n'
    )

    done = flowsync.run("--config", str(tmp_path / "flowsync.toml"), "sync")

    assert done.status == 2
    assert "repository 'a': retain_versions must be at most 2147483647" in done.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("show", NOT_UTF_8),
        ("show", "files", "--glob", NOT_UTF_8),
        ("why", "files", NOT_UTF_8),
        ("sync", NOT_UTF_8),
        ("sync", "file", f"http://h/{NOT_UTF_8}", "-r", "files"),
        ("sync", "file", "http://h/", "-r", NOT_UTF_8),
        ("plan", "file", "http://h/", "-r", NOT_UTF_8),
        ("acs", "add", NOT_UTF_8, "file", "http://h/"),
        ("acs", "refresh", NOT_UTF_8),
        ("serve", "--bind", NOT_UTF_8),
        ("versions", NOT_UTF_8),
        ("remove", NOT_UTF_8),
        ("--database-url", f"postgresql://u:secret@{NOT_UTF_8}/d", "status"),
        (NOT_UTF_8,),
        ("show", "files", NOT_UTF_8),
        ("show", "files", "1", NOT_UTF_8),
        ("prune", "--older-than", NOT_UTF_8),
        ("sync", "--policy", NOT_UTF_8),
        (f"--{NOT_UTF_8}",),
    ],
)
def test_an_argument_that_is_no_text_is_wrong_usage(
    flowsync: CommandLine, arguments: tuple[str, ...]
) -> None:
    done = flowsync.run(*arguments)

    assert (done.status, done.out) == (2, "")
    assert "Traceback" not in done.err
    assert "secret" not in done.err


def test_paths_are_bytes_and_need_not_be_text(flowsync: CommandLine, synced: Done) -> None:
    folder = flowsync.folder / NOT_UTF_8
    folder.mkdir()
    (folder / "flowsync.toml").write_text("max_connections = 2\n")

    home = flowsync.run("--home", str(folder), "status")
    exported = flowsync.run("export", "files", str(folder / "out"))
    missing = flowsync.run("--config", str(folder / "missing.toml"), "status")

    # Only a home must be text: PostgreSQL, and settings that name it, have no other paths.
    assert (home.status, "is not valid UTF-8" in home.err) == (2, True)
    assert (exported.status, "caf\\xe9/out: version 1 of files" in exported.out) == (0, True)
    assert (folder / "out" / "a").read_bytes() == b"1"
    assert (missing.status, "caf\\xe9/missing.toml" in missing.err) == (2, True)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--home", "", "status"),
        ("--config", "", "status"),
        ("--database-url", "", "status"),
        ("plan", "file", "http://h/", "-r", "files", "--output", ""),
        ("plan", "file", "http://h/", "-r", "files", "-o", ""),
        ("plan", "file", "http://h/", "-r", ""),
        ("sync", "--plan", ""),
        ("show", "files", "--glob", ""),
        ("serve", "--bind", ""),
        ("verify", "--limit", ""),
        ("prune", "--older-than", ""),
        ("acs", "add", "near", "file", "http://h/", "--path", ""),
    ],
)
def test_an_option_that_is_empty_is_wrong_usage(
    flowsync: CommandLine, synced: Done, arguments: tuple[str, ...]
) -> None:
    (option,) = [word for word in arguments if word.startswith("-") and word != "-r"] or ["-r"]

    done = flowsync.run(*arguments, env={"HOME": str(flowsync.folder / "user")})

    assert (done.status, done.out, "Traceback" in done.err) == (2, "", False)
    assert option in done.err
    assert not (flowsync.folder / "user").exists()


def test_a_variable_that_is_empty_is_one_that_is_not_set(
    flowsync: CommandLine, tmp_path: Path
) -> None:
    (tmp_path / "flowsync").mkdir()
    (tmp_path / "flowsync" / "flowsync.toml").write_text("max_connections = 2\n")
    variables = {"FLOWSYNC_HOME": "", "FLOWSYNC_CONFIG": "", "XDG_DATA_HOME": str(tmp_path)}
    user = CommandLine(tmp_path, database_url=None)
    user.environment = flowsync.environment | variables

    done = user.run("status")

    assert str(tmp_path / "flowsync") in done.out + done.err


@pytest.mark.parametrize("line", ['home = ""', 'database_url = ""', 'allowed_roots = [""]'])
def test_a_path_of_the_settings_that_is_empty_is_an_error(
    flowsync: CommandLine, tmp_path: Path, line: str
) -> None:
    (tmp_path / "flowsync.toml").write_text(f"{line}\n")
    user = CommandLine(tmp_path, database_url=None)
    user.environment.pop("FLOWSYNC_HOME")

    done = user.run("status", env={"HOME": str(tmp_path / "user")})

    assert (done.status, "empty" in done.err) == (2, True)
    assert f"{tmp_path}/flowsync.toml" in done.err
    assert not (tmp_path / "user").exists()


def test_a_setting_from_the_environment_that_is_no_text_is_named_without_its_value(
    flowsync: CommandLine, tmp_path: Path
) -> None:
    (tmp_path / "flowsync.toml").write_text(
        '[repositories.a]\nsource = "file"\nurl = "http://h/"\nremote = { token = "env:TOKEN" }\n'
    )
    config = ("--config", str(tmp_path / "flowsync.toml"))

    token = flowsync.run(*config, "sync", env={"TOKEN": f"secret{NOT_UTF_8}"})
    database = flowsync.run("status", env={"FLOWSYNC_DATABASE_URL": f"secret{NOT_UTF_8}"})

    assert (token.status, database.status) == (2, 2)
    assert "the environment variable TOKEN holds bytes that are no UTF-8" in token.err
    assert "FLOWSYNC_DATABASE_URL" in database.err
    assert "secret" not in token.err + database.err


@pytest.mark.parametrize(
    "text",
    [b'home = "caf\xe9"\n', b'[repositories."\\uD800"]\n', b"\x00", b'\xef\xbb\xbfhome = ""x'],
)
def test_settings_that_are_no_text_are_one_line(
    flowsync: CommandLine, tmp_path: Path, text: bytes
) -> None:
    (tmp_path / "flowsync.toml").write_bytes(text)

    done = flowsync.run("--config", str(tmp_path / "flowsync.toml"), "status")

    assert (done.status, len(done.err.splitlines())) == (2, 1)
    assert done.err.startswith(f"flowsync: {tmp_path}/flowsync.toml: ")


def test_settings_may_begin_with_a_byte_order_mark(flowsync: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "flowsync.toml").write_bytes(b"\xef\xbb\xbfmax_connections = 2\n")

    done = flowsync.run("--config", str(tmp_path / "flowsync.toml"), "status")

    assert done.status == 0


def test_commands_work_in_a_working_directory_that_was_removed(
    flowsync: CommandLine, synced: Done, shared_upstream: Upstream
) -> None:
    gone = flowsync.folder / "gone"
    lost = CommandLine(
        flowsync.folder,
        database_url=flowsync.environment["FLOWSYNC_DATABASE_URL"],
        prefix=["sh", "-c", f'mkdir {gone} && cd {gone} && rmdir {gone} && exec "$@"', "sh"],
    )
    url = publish(shared_upstream, {"b": b"2", "c": b"3"}, "/gone")

    done = lost.run("sync", "file", url, "-r", "gone", "--workers", "1")
    shown = lost.run("show", "gone")
    exported = lost.run("export", "gone", str(flowsync.folder / "of-gone"))
    relative = lost.run("export", "gone", "relative")
    home = lost.run("--home", "relative", "status")
    config = lost.run("--config", "flowsync.toml", "status")
    planned = lost.run("plan", "file", url, "-r", "gone", "--output", "plan.json")

    assert [one.err for one in (done, shown, exported) if one.status] == []
    said = "relative, and the working directory does not exist any more"
    assert (relative.status, home.status, config.status) == (1, 2, 2)
    for one in (relative, home, config):
        assert said in one.err
        assert len(one.err.splitlines()) == 1
    assert (planned.status, "Traceback" in planned.err) == (2, False)


def test_the_embedded_database_starts_in_a_working_directory_that_was_removed(
    tmp_path: Path,
) -> None:
    gone = tmp_path / "gone"
    lost = CommandLine(
        tmp_path,
        database_url=None,
        prefix=["sh", "-c", f'mkdir {gone} && cd {gone} && rmdir {gone} && exec "$@"', "sh"],
    )

    done = lost.run("status")

    assert (done.status, done.err) == (0, "")


def test_what_has_no_complete_version_is_an_error(
    flowsync: CommandLine, shared_upstream: Upstream, tmp_path: Path
) -> None:
    """A sync that failed has made the repository, and no version of it."""
    missing = shared_upstream.url("/nothing/PULP_MANIFEST")
    flowsync.run("sync", "file", missing, "-r", "empty")

    exported = flowsync.run("export", "empty", str(tmp_path / "out"))
    of_zero = flowsync.run("export", "files", str(tmp_path / "out"), "--version", "0")
    shown = flowsync.run("show", "empty")
    nameless = flowsync.run("export", "files", "")
    lacking = flowsync.run("why", "files", "nothing/like/it")

    assert (exported.status, of_zero.status, shown.status) == (1, 1, 1)
    for one in (exported, of_zero, shown):
        assert "has no complete version yet" in one.err
    assert (nameless.status, "FOLDER is empty" in nameless.err) == (2, True)
    assert not (tmp_path / "out").exists()
    assert lacking.status == 1
