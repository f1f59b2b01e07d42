"""The code of the README runs as it stands there."""

import asyncio
import hashlib
import inspect
import json
import re
from pathlib import Path
from typing import Any

import pytest

from flowsync import (
    Artifact,
    DeclarativeArtifact,
    DeclarativeContent,
    Engine,
    Remote,
    Repository,
    Stage,
    library,
)
from flowsync.configuration import options_of
from tests.upstream.server import Upstream

README = Path(__file__).parents[3] / "README.md"


def code_block(containing: str) -> str:
    """Return the one Python block of the README that contains a text."""
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    (block,) = [block for block in blocks if containing in block]
    return str(block)


def publish_index(upstream: Upstream, names: list[str]) -> str:
    entries = []
    for name in names:
        body = f"body of {name}".encode()
        url = upstream.put(f"/pool/{name}", body)
        sha256 = hashlib.sha256(body).hexdigest()
        entries.append({"name": name, "sha256": sha256, "size": len(body), "url": url})
    return upstream.put("/index.json", json.dumps(entries).encode())


def run_example(url: str) -> dict[str, Any]:
    """Run the first example as a script whose upstream is `url`; return its names."""
    source = code_block("class MyFirstStage").replace("https://example.org/index.json", url)
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(source, str(README), "exec"), names)  # noqa: S102 - that is what the reader does
    return names


def test_first_stage_example_makes_a_version_and_then_none(
    upstream: Upstream, conninfo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWSYNC_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FLOWSYNC_DATABASE_URL", conninfo)
    url = publish_index(upstream, ["one.whl", "two.whl", "three.txt"])

    version = run_example(url)["version"]
    again = run_example(url)["version"]

    assert (version.repository, version.number, version.added, version.present) == (
        "example",
        1,
        3,
        3,
    )
    assert again is None


def test_create_inside_a_running_loop_names_the_coroutine_to_await(
    upstream: Upstream, conninfo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWSYNC_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FLOWSYNC_DATABASE_URL", conninfo)
    names = run_example(publish_index(upstream, ["one.whl"]))

    async def call() -> None:
        remote = Remote(name="example", url="http://localhost/")
        names["DeclarativeVersion"](names["MyFirstStage"](remote), Repository(name="r")).create()

    with pytest.raises(Exception, match="acreate"):
        asyncio.run(call())


async def test_filtering_pipeline_keeps_only_wheels(
    upstream: Upstream, conninfo: str, tmp_path: Path
) -> None:
    names = _definitions("class MyFirstStage") | _definitions("class OnlyWheels")
    url = publish_index(upstream, ["one.whl", "two.txt", "three.whl"])

    async with Engine(tmp_path / "home", database_url=conninfo) as engine:
        stage = names["MyFirstStage"](Remote(name="example", url=url))
        sync = names["WheelsOnly"](stage, Repository(name="wheels"), mirror=True, engine=engine)
        version = await sync.acreate()

    assert version is not None
    assert version.present == 2
    assert upstream.count("/pool/two.txt") == 0


async def test_fan_out_reads_what_was_downloaded_and_declares_more(
    upstream: Upstream, conninfo: str, tmp_path: Path
) -> None:
    names = _definitions("class MyFirstStage")
    content = names["MyContent"]

    def declare(entry: dict[str, Any], remote: Remote) -> DeclarativeContent:
        artifact = Artifact(sha256=entry["sha256"], size=entry["size"])
        return DeclarativeContent(
            content=content(entry["name"], entry["sha256"]),
            d_artifacts=[
                DeclarativeArtifact(
                    artifact, url=entry["url"], relative_path=entry["name"], remote=remote
                )
            ],
        )

    stages = names | {"declare": declare}
    exec(code_block("class Indexes"), stages)  # noqa: S102 - that is what the reader does
    url = publish_index(upstream, ["one", "two"])
    remote = Remote(name="example", url=url)
    # The index is content too, declared without any digest.
    unit = DeclarativeContent(
        content=content("index.json", "unknown"),
        d_artifacts=[
            DeclarativeArtifact(Artifact(), url=url, relative_path="index.json", remote=remote)
        ],
    )

    async with Engine(tmp_path / "home", database_url=conninfo) as engine:
        sync = names["DeclarativeVersion"](
            stages["Indexes"](remote, [unit]), Repository(name="fan-out"), engine=engine
        )
        version = await sync.acreate()

    assert version is not None
    assert version.present == 3


async def test_several_syncs_share_one_engine(
    upstream: Upstream, conninfo: str, tmp_path: Path
) -> None:
    names = _definitions("class MyFirstStage") | {"asyncio": asyncio}
    source = code_block("async def sync_all")
    source = source.replace('"/srv/flowsync"', "HOME").replace(
        '"postgresql://mirror@db/flowsync"', "URL"
    )
    names |= {"HOME": tmp_path / "home", "URL": conninfo}
    exec(source, names)  # noqa: S102
    url = publish_index(upstream, ["one", "two", "three"])

    await names["sync_all"]({f"repository-{number}": url for number in range(6)})

    async with Engine(tmp_path / "home", database_url=conninfo) as engine:
        latest = [
            await engine.catalog.repositories.version(f"repository-{number}") for number in range(6)
        ]
    assert [(version.number, version.present) for version in latest] == [(1, 3)] * 6


async def test_a_program_syncs_what_the_settings_ask_for(
    upstream: Upstream, conninfo: str, tmp_path: Path
) -> None:
    names: dict[str, Any] = {}
    exec(code_block("async def sync_configured"), names)  # noqa: S102
    body = b"body of one"
    upstream.put("/one", body)
    line = f"one,{hashlib.sha256(body).hexdigest()},{len(body)}"
    url = upstream.put("/PULP_MANIFEST", line.encode())
    tables = {"good": ("file", url), "broken": ("file", f"{url}/missing"), "odd": ("tape", url)}
    (tmp_path / "flowsync.toml").write_text(
        "".join(
            f'[repositories.{name}]\nsource = "{source}"\nurl = "{at}"\n'
            "remote = { max_retries = 0 }\n"
            for name, (source, at) in tables.items()
        )
    )

    good, broken, odd = await names["sync_configured"](
        home=tmp_path / "home", config=tmp_path / "flowsync.toml", database_url=conninfo
    )

    assert good == "good: 1 units"
    assert broken.startswith("broken: ")
    assert "404" in broken
    assert "repository 'odd': there is no source 'tape'; installed are: deb, file" in odd


def test_the_kind_with_options_describes_them() -> None:
    names: dict[str, Any] = {"MyOptionsStage": Stage}
    exec(code_block("class MyOptions("), names)  # noqa: S102

    options = {option.name: option for option in options_of(names["SOURCE"])}

    assert (options["depth"].type, options["depth"].default) == ("integer, at least 1", 3)
    assert options["suffixes"].help == "Only files that end so."


async def test_report_of_a_repository_reads_versions_and_entries(
    upstream: Upstream, conninfo: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = _definitions("class MyFirstStage") | _definitions("async def report")
    url = publish_index(upstream, ["one.whl", "two.txt"])
    async with Engine(tmp_path / "home", database_url=conninfo) as engine:
        stage = names["MyFirstStage"](Remote(name="example", url=url))
        await names["DeclarativeVersion"](stage, Repository(name="r"), engine=engine).acreate()

        await names["report"](engine, "r")

    first, second, *entries = capsys.readouterr().out.splitlines()
    assert (first, second) == ("0: 0 added, 0 removed", "1: 2 added, 0 removed")
    assert [line.split()[:2] for line in entries] == [["one.whl", "15"]]


def test_the_table_of_functions_is_complete() -> None:
    section = README.read_text().partition("## Repositories in a program")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("|")]

    named = re.findall(r"`(\w+)`", "".join(rows))

    public: list[str] = vars(library)["__all__"]
    functions = [name for name in public if inspect.isfunction(getattr(library, name))]
    assert sorted(named) == sorted(functions)


def test_pipeline_without_a_database_runs(capsys: pytest.CaptureFixture[str]) -> None:
    exec(code_block("class Numbers"), {})  # noqa: S102

    sums = [int(line) for line in capsys.readouterr().out.split()]
    assert sum(sums) == 49_995_000


def _definitions(containing: str) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "example", "json": json}
    exec(code_block(containing), names)  # noqa: S102
    return names
