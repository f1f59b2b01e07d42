"""What `flowsync.toml`, the environment and the options say, and what is refused before anything is
opened.
"""

from pathlib import Path

import pytest

from tests.system.command import CommandLine
from tests.system.publishing import publish
from tests.upstream.server import Upstream


@pytest.fixture
def plain(tmp_path: Path) -> CommandLine:
    """Give the command line without any database, for what must fail before one is needed."""
    return CommandLine(tmp_path, database_url="postgresql://nobody@127.0.0.1:1/none")


def test_sync_without_arguments_syncs_all_and_with_a_name_one(
    flowsync: CommandLine, upstream: Upstream
) -> None:
    tools = {"url": publish(upstream, {"a": b"1"}, "/tools"), "mirror": True}
    docs = {"url": publish(upstream, {"b": b"2"}, "/docs"), "policy": "on_demand"}
    flowsync.configure(repositories={"tools": tools, "docs": docs})

    one = flowsync.run("sync", "docs", "--json")
    both = flowsync.run("sync", "--json")

    assert [(result["repository"], result["version"]) for result in one.objects] == [("docs", 1)]
    assert {result["repository"]: result["version"] for result in both.objects} == {
        "tools": 1,
        "docs": None,
    }
    assert (upstream.count("/tools/a"), upstream.count("/docs/b")) == (1, 0)


def test_a_text_may_come_from_the_environment(flowsync: CommandLine, upstream: Upstream) -> None:
    url = publish(upstream, {"a": b"1"})
    remote = {"username": "mirror", "password": "env:TOOLS_PASSWORD"}
    flowsync.configure(repositories={"tools": {"url": "env:TOOLS_URL", "remote": remote}})

    status = flowsync.run("status")
    unset = flowsync.run("sync")
    done = flowsync.run("sync", env={"TOOLS_URL": url, "TOOLS_PASSWORD": "open sesame"})

    assert status.status == 0
    assert unset.status == 2
    assert unset.err == (
        f"flowsync: {flowsync.folder}/flowsync.toml: repository 'tools': "
        "the environment variable TOOLS_URL is not set\n"
    )
    assert done.status == 0
    assert upstream.requests("/a")[0].headers["authorization"].startswith("Basic ")
    assert "sesame" not in done.out + done.err


def test_home_and_database_may_stand_in_the_file_and_options_win(
    flowsync: CommandLine, tmp_path: Path, upstream: Upstream
) -> None:
    """Paths are relative to the file, wherever the command is called."""
    database_url = flowsync.environment.pop("FLOWSYNC_DATABASE_URL")
    del flowsync.environment["FLOWSYNC_HOME"]
    flowsync.configure('home = "kept/here"\ndatabase_url = "env:DATABASE"\n')
    elsewhere = CommandLine(tmp_path.parent, database_url=None)
    del elsewhere.environment["FLOWSYNC_HOME"]
    config = ("--config", str(tmp_path / "flowsync.toml"))
    given = {"DATABASE": database_url}

    # One after the other: a database belongs to one home at a time.
    found = flowsync.run("status", env=given)
    named = elsewhere.run(*config, "status", env=given)
    option = elsewhere.run(*config, "--home", str(tmp_path / "other"), "status", env=given)

    assert found.out.startswith(f"home      {tmp_path}/kept/here\n")
    assert named.out.startswith(f"home      {tmp_path}/kept/here\n")
    assert option.out.startswith(f"home      {tmp_path}/other\n")


def test_the_file_is_found_in_the_home(flowsync: CommandLine, upstream: Upstream) -> None:
    flowsync.configure(repositories={"tools": {"url": publish(upstream, {"a": b"1"})}})
    flowsync.home.mkdir()
    (flowsync.folder / "flowsync.toml").rename(flowsync.home / "flowsync.toml")

    done = flowsync.run("sync", "tools", "--json")

    assert done.objects[0]["version"] == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('colour = "blue"', "unknown field `colour`"),
        ("max_connections = 0", "`$.max_connections`"),
        ('repositories = "all"', "Expected `object`"),
        (
            '[repositories.a]\nsource = "file"',
            "repository 'a': Object missing required field `url`",
        ),
        (
            '[repositories.a]\nsource = "file"\nurl = "http://h/"\ncolour = 1',
            "repository 'a': Object contains unknown field `colour`",
        ),
        (
            '[repositories.a]\nsource = "file"\nurl = "http://h/"\nremote = { colour = 1 }',
            "repository 'a': remote has no field colour",
        ),
        (
            '[repositories.a]\nsource = "file"\nurl = "http://h/"\nremote = { max_retries = "x" }',
            "repository 'a': Expected `int`, got `str` - at `$.max_retries`",
        ),
        (
            '[repositories.a]\nsource = "file"\nurl = "no url"',
            "repository 'a': remote 'a': url has no scheme, found 'no url'",
        ),
        (
            '[repositories.a]\nsource = "tape"\nurl = "http://h/"',
            "repository 'a': there is no source 'tape'; installed are: deb, file",
        ),
        (
            '[repositories."acs:a"]\nsource = "file"\nurl = "http://h/"',
            "a repository cannot be named 'acs:a': alternate sources have names that begin with",
        ),
        (
            '[repositories."a/b"]\nsource = "file"\nurl = "http://h/"',
            "repository 'a/b': a repository's name must be",
        ),
        ("this is not toml", "line 1"),
    ],
)
def test_a_wrong_setting_is_named_with_its_file(plain: CommandLine, text: str, said: str) -> None:
    plain.configure(text)

    done = plain.run("sync")

    assert (done.status, done.out) == (2, "")
    (line,) = done.err.splitlines()
    assert line.startswith(f"flowsync: {plain.folder}/flowsync.toml: ")
    assert said in line


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("sync",), "no repositories in flowsync.toml"),
        (("sync", "file"), "source 'file' needs a URL"),
        (("sync", "tools"), "there is no repository 'tools' in flowsync.toml; it has: none"),
        (("sync", "file", "http://h/"), "--repository NAME"),
        (
            ("sync", "tape", "http://h/", "-r", "a"),
            "there is no source 'tape'; installed are: deb, file",
        ),
        (("sync", "file", "http://h/", "-r", "a b"), "repository 'a b'"),
        (("sync", "file", "no-url", "-r", "a"), "'no-url' is no URL such as https://"),
        (("sync", "file", "no-url"), "source 'file' needs a URL"),
        (("sync", "file", "http://u:secret@h/", "-r", "a"), "url holds credentials"),
        (("sync", "a", "b", "c"), "there is no repository 'a' in flowsync.toml"),
        (("sync", "file", "http://h/", "c"), "expected SOURCE URL, found 3 arguments"),
        (("sync", "tools", "--mirror"), "need SOURCE and URL"),
        (("sync", "--policy", "sometimes"), "'sometimes'"),
        (("--config", "missing.toml", "sync"), "there is no settings file"),
        (("frobnicate",), "No such command 'frobnicate'"),
        (("show",), "Missing argument 'NAME'"),
        (("diff", "a", "b", "2"), "'b' is not a valid integer"),
        ((), "Usage: flowsync"),
    ],
)
def test_wrong_usage_is_told_on_stderr_with_status_2(
    plain: CommandLine, arguments: tuple[str, ...], said: str
) -> None:
    done = plain.run(*arguments)

    assert (done.status, done.out) == (2, "")
    assert said in done.err
    assert "secret" not in done.err
    assert "Traceback" not in done.err
    assert not plain.home.exists()


def test_more_repositories_than_may_be_synced_at_once_are_all_synced(
    flowsync: CommandLine, upstream: Upstream
) -> None:
    urls = {f"r{number}": publish(upstream, {"a": b"1"}, f"/{number}") for number in range(12)}
    flowsync.configure(
        "syncs_at_once = 3\nworkers = 1\nhash_workers = 1\n",
        {name: {"url": url} for name, url in urls.items()},
    )

    done = flowsync.run("sync", "--json")

    assert sorted(result["repository"] for result in done.objects) == sorted(urls)
    assert {result["version"] for result in done.objects} == {1}


def test_a_repository_whose_settings_cannot_be_used_fails_alone(
    flowsync: CommandLine, upstream: Upstream
) -> None:
    good = {"url": publish(upstream, {"a": b"1"})}
    bad = {"url": "env:UNSET", "source": "file"}
    flowsync.configure(repositories={"bad": bad, "good": good})

    planned = flowsync.run("plan", "--json")
    both = flowsync.run("sync", "--json")
    one = flowsync.run("sync", "bad")

    said = "repository 'bad': the environment variable UNSET is not set"
    assert (planned.status, [plan["repository"] for plan in planned.objects]) == (1, ["good"])
    results = {result["repository"]: result for result in both.objects}
    assert (both.status, results["good"]["version"]) == (1, 1)
    assert said in results["bad"]["error"]
    assert [said in line for line in both.complaints] == [True]
    # Nothing was tried.
    assert (one.status, one.out) == (2, "")
