"""A manifest that a redirect brings from another host: its files come from beside the URL that was
given, so that the other host decides about none of them.
"""

import hashlib
from collections.abc import Iterator

import pytest

from flowsync import Engine, library
from flowsync.errors import DigestMismatchError
from tests.integration.sync.conftest import Sync
from tests.integration.sync.conftest import engine as engine
from tests.integration.sync.conftest import file_sync as file_sync
from tests.upstream.behaviours import Redirect
from tests.upstream.server import Upstream

BODY = b"of the host that was asked"
MANIFEST = f"a.txt,{hashlib.sha256(BODY).hexdigest()},{len(BODY)}\n".encode()


@pytest.fixture
def other() -> Iterator[Upstream]:
    """Give a second host: another port of this machine."""
    with Upstream() as server:
        yield server


def redirected(upstream: Upstream, other: Upstream, manifest: bytes = MANIFEST) -> str:
    """Have `upstream` redirect its manifest to `other`, deep in a folder; return its URL."""
    leads_to = other.put("/deep/mirror/PULP_MANIFEST", manifest)
    upstream.always("/files/PULP_MANIFEST", Redirect(leads_to))
    return upstream.url("/files/PULP_MANIFEST")


def paths_seen(server: Upstream) -> set[str]:
    return {seen.target for seen in server.seen}


async def test_files_of_a_redirected_manifest_come_from_beside_the_url_that_was_given(
    engine: Engine, file_sync: Sync, upstream: Upstream, other: Upstream
) -> None:
    url = redirected(upstream, other)
    upstream.put("/files/a.txt", BODY)
    other.put("/deep/mirror/a.txt", BODY)
    other.put("/files/a.txt", BODY)

    version = await file_sync(url, mirror=True).acreate()

    assert version is not None
    assert version.present == 1
    assert paths_seen(upstream) == {"/files/PULP_MANIFEST", "/files/a.txt"}
    assert paths_seen(other) == {"/deep/mirror/PULP_MANIFEST"}


async def test_the_host_that_was_given_decides_about_each_file(
    engine: Engine, file_sync: Sync, upstream: Upstream, other: Upstream
) -> None:
    """What it has not is not asked of the other host; what it has is checked against the list."""
    url = redirected(upstream, other)
    upstream.put("/files/a.txt", BODY[::-1])
    other.put("/deep/mirror/a.txt", BODY)

    with pytest.raises(DigestMismatchError):
        await file_sync(url).acreate()

    assert paths_seen(other) == {"/deep/mirror/PULP_MANIFEST"}


async def test_what_an_on_demand_sync_records_is_beside_the_url_that_was_given(
    engine: Engine, file_sync: Sync, upstream: Upstream, other: Upstream
) -> None:
    url = redirected(upstream, other)

    await file_sync(url, remote={"policy": "on_demand"}).acreate()

    explained = await library.explain(engine, "files", "a.txt")
    (present,) = explained.present
    assert [source.url for source in present.origins] == [upstream.url("/files/a.txt")]


async def test_a_folder_of_which_the_manifest_is_redirected_stays_the_folder(
    engine: Engine, file_sync: Sync, upstream: Upstream, other: Upstream
) -> None:
    redirected(upstream, other)
    upstream.put("/files/a.txt", BODY)

    version = await file_sync(upstream.url("/files/")).acreate()

    assert version is not None
    assert "/files/a.txt" in paths_seen(upstream)


async def test_a_redirected_manifest_that_is_unchanged_is_skipped(
    engine: Engine, file_sync: Sync, upstream: Upstream, other: Upstream
) -> None:
    url = redirected(upstream, other)
    upstream.put("/files/a.txt", BODY)
    await file_sync(url).acreate()

    again = file_sync(url)

    assert await again.acreate() is None
    assert again.result is not None
    assert again.result.skipped
