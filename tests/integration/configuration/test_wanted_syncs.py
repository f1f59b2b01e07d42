"""Syncs that settings ask for, begun by a program."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import pytest

from flowsync import Engine, SyncEnded, library
from flowsync.configuration import (
    Configuration,
    WantedSync,
    described_remote,
    planned_sync,
    read_configuration,
    read_plan_file,
    register_alternates,
    syncs_of_plan,
    write_plan_file,
)
from flowsync.errors import PlanOutdatedError, TransferError
from tests.integration.sync.conftest import engine as engine
from tests.integration.sync.conftest import paths
from tests.upstream.server import Upstream


def put(upstream: Upstream, files: Mapping[str, bytes], folder: str = "") -> str:
    """Put files and their manifest below a folder upstream; return the manifest's URL."""
    lines = []
    for path, body in files.items():
        upstream.put(f"{folder}/{path}", body)
        lines.append(f"{path},{hashlib.sha256(body).hexdigest()},{len(body)}\n")
    return upstream.put(f"{folder}/PULP_MANIFEST", "".join(lines).encode())


def configured(folder: Path, url: str, text: str = "") -> Configuration:
    (folder / "flowsync.toml").write_text(
        f'[repositories.files]\nsource = "file"\nurl = "{url}"\nmirror = true\nmax_removal = 1\n'
        f"remote = {{ max_retries = 0 }}\n{text}"
    )
    return read_configuration(config=folder / "flowsync.toml", environ={"XDG_DATA_HOME": "/data"})


def the_wanted(configuration: Configuration) -> WantedSync:
    (wanted,) = configuration.wanted_syncs()
    assert isinstance(wanted, WantedSync)
    return wanted


async def test_a_wanted_sync_is_done_as_the_settings_say(
    engine: Engine, upstream: Upstream, tmp_path: Path
) -> None:
    wanted = the_wanted(configured(tmp_path, put(upstream, {"a": b"1", "b": b"2"})))
    ends: list[object] = []

    first = await wanted.sync(engine, acs=False, observers=[ends.append])
    put(upstream, {"b": b"2"})
    mirrored = await wanted.sync(engine, acs=False)
    again = await wanted.sync(engine, acs=False)
    forced = await wanted.sync(engine, acs=False, force=True)

    assert (first.repository, first.version, first.added) == ("files", 1, 2)
    assert [type(event) for event in ends].count(SyncEnded) == 1
    assert (mirrored.version, mirrored.removed) == (2, 1)
    assert (again.skipped, forced.skipped, forced.version) == (True, False, None)


async def test_what_a_wanted_sync_fails_with_is_raised(
    engine: Engine, upstream: Upstream, tmp_path: Path
) -> None:
    wanted = the_wanted(configured(tmp_path, upstream.url("/missing")))

    with pytest.raises(TransferError, match="404"):
        await wanted.sync(engine, acs=False)


async def test_alternate_sources_are_used_as_the_file_describes_them(
    engine: Engine, upstream: Upstream, tmp_path: Path
) -> None:
    files = {"a": b"1"}
    configuration = configured(
        tmp_path,
        put(upstream, files),
        '[alternate_sources.near]\nremote = { username = "u", password = "p", max_retries = 0 }',
    )
    none = await register_alternates(engine, configuration.file)
    near = described_remote(configuration.file, "near", "near", put(upstream, files, "/near"))
    await library.add_alternate_source(engine, "near", "file", near)
    engine.alternate_remotes.clear()

    some = await register_alternates(engine, configuration.file)
    wanted = the_wanted(configuration)
    await library.refresh_alternate_source(engine, "near", wanted.source.first_stage)
    await wanted.sync(engine, acs=some)

    assert (none, some) == (False, True)
    assert (upstream.count("/near/a"), upstream.count("/a")) == (1, 0)
    assert upstream.requests("/near/a")[0].headers["authorization"].startswith("Basic ")


async def test_a_dry_run_from_a_file_is_what_the_sync_comes_to(
    engine: Engine, upstream: Upstream, tmp_path: Path
) -> None:
    configuration = configured(tmp_path, put(upstream, {"a": b"1"}))
    wanted = the_wanted(configuration)
    found = await wanted.declare(engine, acs=False).aplan()
    sync = planned_sync(wanted, found, configured=True)
    write_plan_file(tmp_path / "plan", [sync], force=False, max_removal=None)
    (as_planned,) = syncs_of_plan(read_plan_file(tmp_path / "plan"), configuration.file)

    put(upstream, {"a": b"2"})
    with pytest.raises(PlanOutdatedError):
        await as_planned.sync(engine, acs=False)
    put(upstream, {"a": b"1"})
    result = await as_planned.sync(engine, acs=False)

    assert as_planned.dry_run == found
    assert result.version == 1
    assert await paths(engine) == {"a": True}
