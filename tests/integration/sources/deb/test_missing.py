"""Packages that a suite lists and that cannot be had."""

import pytest

from flowsync import Engine, FlowsyncError, library
from tests.integration.serve.conftest import Client
from tests.integration.serve.conftest import client as client
from tests.integration.sources.deb.conftest import Archive, SyncDeb, some_packages
from tests.upstream.behaviours import Corrupt

ALPHA, BETA, LIBX = some_packages()
SERVED = f"/debian/{BETA.path}"


async def test_a_package_that_is_gone_ends_a_sync_without_a_version(
    archive: Archive, sync: SyncDeb, engine: Engine
) -> None:
    archive.write(some_packages())
    (archive.root / BETA.path).unlink()

    with pytest.raises(FlowsyncError, match="404"):
        await sync()

    assert (await library.version(engine, "debian")).number == 0


@pytest.mark.parametrize("on_error", ["skip", "defer"])
async def test_a_package_that_was_left_out_is_fetched_by_the_next_sync(
    archive: Archive, sync: SyncDeb, client: Client, on_error: str
) -> None:
    archive.write(some_packages())
    (archive.root / BETA.path).unlink()
    how = {"on_error": on_error}

    first = await sync(how=how)
    others = [(await client.get(f"/debian/{each.path}")).status for each in (ALPHA, LIBX)]
    archive.write(some_packages(), suite="another")
    again = await sync(how=how)

    assert [each.relative_path for each in first.left_out] == [BETA.path]
    assert others == [200, 200]
    assert not again.skipped
    assert (await client.get(SERVED)).body == BETA.body


async def test_a_package_with_other_bytes_than_listed_is_never_stored(
    archive: Archive, sync: SyncDeb, client: Client
) -> None:
    archive.write(some_packages())
    archive.upstream.always(f"/{BETA.path}", Corrupt(at=100))

    result = await sync(how={"on_error": "skip"})

    assert [each.relative_path for each in result.left_out] == [BETA.path]
    assert (await client.get(SERVED)).status == 404


async def test_on_demand_a_package_is_fetched_once_and_a_missing_one_is_told(
    archive: Archive, sync: SyncDeb, client: Client
) -> None:
    archive.write(some_packages())
    (archive.root / BETA.path).unlink()

    result = await sync({"policy": "on_demand"})
    bodies = [(await client.get(f"/debian/{ALPHA.path}")).body for _ in range(2)]
    missing = await client.get(SERVED)

    assert result.version == 1
    assert bodies == [ALPHA.body] * 2
    assert archive.upstream.count(f"/{ALPHA.path}") == 1
    assert missing.status == 502


async def test_a_removed_package_stays_in_a_repository_that_is_no_mirror(
    archive: Archive, sync: SyncDeb, client: Client
) -> None:
    archive.write(some_packages())
    await sync(how={"mirror": False})
    archive.write([ALPHA])

    result = await sync(how={"mirror": False})

    assert (result.version, result.removed > 0) == (2, True)
    assert (await client.get(SERVED)).status == 200
    served = await client.get("/debian/dists/one/InRelease")
    assert served.body == (archive.root / "dists/one/InRelease").read_bytes()
