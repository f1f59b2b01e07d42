"""Alternate sources that flowsync keeps up: refreshed by metadata, asked first, forgotten whole."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest

from flowsync import (
    ArtifactDownloader,
    DeclarationError,
    DeclarativeVersion,
    Engine,
    NewVersion,
    Remote,
    Repository,
    Stage,
)
from flowsync.errors import AlternateSourceNotFoundError, RepositoryNotFoundError
from flowsync.model.remote import RefreshedPath, remote_name
from flowsync.sources.file import FileFirstStage
from flowsync.sync import alternate_sources
from flowsync.sync.alternate_sources import path_url
from tests.integration.sync.conftest import Publish, Sync, paths
from tests.system.publishing import manifest_of
from tests.system.publishing import publish as publish_below
from tests.upstream.behaviours import Drop, Status
from tests.upstream.server import Upstream

FILES = {"a": b"bytes of a", "b": b"bytes of b"}


async def add(
    engine: Engine,
    url: str,
    *,
    name: str = "near",
    paths: tuple[str, ...] = (),
    token: str | None = None,
) -> None:
    remote = Remote(
        name=remote_name(name, "file"), url=url, policy="on_demand", max_retries=0, token=token
    )
    await alternate_sources.add_alternate_source(
        engine, name, "file", remote, priority=0, paths=paths
    )


async def refresh(engine: Engine, name: str = "near") -> list[RefreshedPath]:
    return await alternate_sources.refresh_alternate_source(engine, name, FileFirstStage)


async def offered(engine: Engine, name: str = "near") -> list[str]:
    """Return the paths below the alternate source at which it is recorded to have something."""
    async with engine.catalog.database.connection() as connection:
        cursor = await connection.execute(
            "SELECT s.relative_path FROM remote_artifact s JOIN remote r ON r.id = s.remote_id "
            "WHERE r.name = %s ORDER BY 1",
            (remote_name(name, "file"),),
        )
        return [path for (path,) in await cursor.fetchall()]


async def test_refresh_fetches_manifests_only_and_a_sync_then_takes_every_file_from_there(
    engine: Engine, upstream: Upstream, publish: Publish, file_sync: Sync
) -> None:
    publish_below(upstream, {"a": FILES["a"]}, "/near/one")
    publish_below(upstream, {"b": FILES["b"]}, "/near/two")
    await add(engine, upstream.url("/near"), paths=("one/", "two/"))

    refreshed = await refresh(engine)
    assert [seen.target for seen in upstream.requests()] == [
        "/near/one/PULP_MANIFEST",
        "/near/two/PULP_MANIFEST",
    ]
    await file_sync(publish(FILES), acs=True).acreate()

    assert refreshed == [
        RefreshedPath(path="one/", units=1, changed=True),
        RefreshedPath(path="two/", units=1, changed=True),
    ]
    assert (upstream.count("/near/one/a"), upstream.count("/near/two/b")) == (1, 1)
    assert (upstream.count("/PULP_MANIFEST"), upstream.count("/a"), upstream.count("/b")) == (
        1,
        0,
        0,
    )
    assert await paths(engine) == {"a": True, "b": True}
    assert await engine.catalog.repositories.names() == ["files"]


async def test_a_source_whose_bytes_were_wrong_lately_is_not_asked_for_them(
    engine: Engine, upstream: Upstream, publish: Publish, file_sync: Sync
) -> None:
    publish_below(upstream, FILES, "/near")
    await add(engine, upstream.url("/near/"))
    await refresh(engine)
    async with engine.catalog.database.connection() as connection:
        await connection.execute(
            "UPDATE remote_artifact SET failed_at = now() WHERE relative_path = 'a'"
        )

    await file_sync(publish(FILES), acs=True).acreate()

    assert (upstream.count("/near/a"), upstream.count("/a")) == (0, 1)
    assert (upstream.count("/near/b"), upstream.count("/b")) == (1, 0)


async def test_a_local_folder_seeds_a_sync_without_network(
    engine: Engine, upstream: Upstream, publish: Publish, file_sync: Sync, tmp_path: Path
) -> None:
    dvd = tmp_path / "dvd"
    dvd.mkdir()
    for path, body in FILES.items():
        (dvd / path).write_bytes(body)
    (dvd / "PULP_MANIFEST").write_bytes(manifest_of(FILES))
    await add(engine, f"file://{dvd}/")
    await refresh(engine)

    await file_sync(publish(FILES), acs=True).acreate()

    assert [seen.target for seen in upstream.requests()] == ["/PULP_MANIFEST"]
    assert await paths(engine) == {"a": True, "b": True}


async def test_each_source_is_asked_with_its_own_credentials(
    engine: Engine, upstream: Upstream, publish: Publish, file_sync: Sync
) -> None:
    """The fall-back to the original uses the original's credentials."""
    publish_below(upstream, FILES, "/near")
    upstream.always("/near/a", Status(404))
    await add(engine, upstream.url("/near/"), token="of-near")
    await refresh(engine)

    await file_sync(publish(FILES), acs=True, remote={"token": "of-far"}).acreate()

    sent = {
        seen.target: seen.headers["authorization"]
        for seen in upstream.requests()
        if seen.target in {"/near/a", "/a", "/near/b"}
    }
    assert sent == {
        "/near/a": "Bearer of-near",
        "/a": "Bearer of-far",
        "/near/b": "Bearer of-near",
    }


class OneByOne(DeclarativeVersion):
    """A sync that downloads one content at a time."""

    def pipeline_stages(self, new_version: NewVersion) -> list[Stage]:
        return [
            ArtifactDownloader(1) if isinstance(stage, ArtifactDownloader) else stage
            for stage in super().pipeline_stages(new_version)
        ]


async def test_a_source_that_cannot_be_reached_is_the_last_resort_of_the_run(
    engine: Engine, upstream: Upstream, publish: Publish
) -> None:
    files = {**FILES, "c": b"bytes of c"}
    publish_below(upstream, files, "/near")
    upstream.always("/near/a", Drop())
    await add(engine, upstream.url("/near/"))
    await refresh(engine)
    far = Remote(name="far", url=publish(files), max_retries=0)
    upstream.always("/c", Status(404))

    sync = OneByOne(FileFirstStage(far), Repository(name="files"), acs=True, engine=engine)
    await sync.acreate()

    asked = [seen.target for seen in upstream.requests() if "MANIFEST" not in seen.target]
    # A request that is dropped on a connection in use is sent once more, on a new one.
    assert list(dict.fromkeys(asked)) == ["/near/a", "/a", "/b", "/c", "/near/c"]
    assert await paths(engine) == {"a": True, "b": True, "c": True}


async def test_what_a_source_lists_no_longer_is_not_asked_of_it(
    engine: Engine, upstream: Upstream, publish: Publish, file_sync: Sync
) -> None:
    publish_below(upstream, FILES, "/near")
    await add(engine, upstream.url("/near/"))
    await refresh(engine)
    publish_below(upstream, {"a": FILES["a"]}, "/near")

    (refreshed,) = await refresh(engine)
    await file_sync(publish(FILES), acs=True).acreate()

    assert refreshed == RefreshedPath(path="", units=1, changed=True)
    assert (upstream.count("/near/a"), upstream.count("/near/b"), upstream.count("/b")) == (1, 0, 1)


async def test_what_one_path_drops_stays_while_another_lists_it(
    engine: Engine, upstream: Upstream
) -> None:
    publish_below(upstream, FILES, "/near/one")
    publish_below(upstream, FILES, "/near/two")
    await add(engine, upstream.url("/near"), paths=("one/", "two/"))
    await refresh(engine)
    publish_below(upstream, {}, "/near/one")

    await refresh(engine)

    assert await offered(engine) == ["a", "b"]


async def test_paths_that_are_given_up_are_forgotten_by_the_next_refresh(
    engine: Engine, upstream: Upstream
) -> None:
    publish_below(upstream, {"a": FILES["a"]}, "/near/one")
    publish_below(upstream, {"b": FILES["b"]}, "/near/two")
    await add(engine, upstream.url("/near"), paths=("one/", "two/"))
    await refresh(engine)

    await add(engine, upstream.url("/near"), paths=("two/",))
    await refresh(engine)

    assert await offered(engine) == ["b"]
    with pytest.raises(RepositoryNotFoundError):
        await engine.catalog.repositories.version("acs:near:one%2F")


async def test_a_path_that_cannot_be_read_leaves_the_others_and_what_is_known(
    engine: Engine, upstream: Upstream
) -> None:
    publish_below(upstream, {"a": FILES["a"]}, "/near/one")
    publish_below(upstream, {"b": FILES["b"]}, "/near/two")
    await add(engine, upstream.url("/near"), paths=("one/", "two/"))
    await refresh(engine)
    (before,) = await engine.catalog.remotes.alternate_sources()
    upstream.script("/near/one/PULP_MANIFEST", Status(404))

    one, two = await refresh(engine)

    assert one.error is not None
    assert "404" in one.error
    assert two == RefreshedPath(path="two/", units=1, changed=False)
    assert await offered(engine) == ["a", "b"]
    (after,) = await engine.catalog.remotes.alternate_sources()
    assert before.last_refreshed == after.last_refreshed


async def test_refreshes_at_once_lose_nothing(engine: Engine, upstream: Upstream) -> None:
    files = {f"{number}": b"%d" % number for number in range(50)}
    publish_below(upstream, files, "/near")
    await add(engine, upstream.url("/near/"))

    await asyncio.gather(*(refresh(engine) for _ in range(4)))

    assert len(await offered(engine)) == 50


async def test_a_removed_source_is_asked_no_more_and_what_came_from_it_stays(
    engine: Engine, upstream: Upstream, publish: Publish, file_sync: Sync
) -> None:
    publish_below(upstream, {"a": FILES["a"]}, "/near")
    await add(engine, upstream.url("/near/"))
    await refresh(engine)
    await file_sync(publish({"a": FILES["a"]}), acs=True).acreate()

    await alternate_sources.remove_alternate_source(engine, "near")

    assert await engine.catalog.remotes.alternate_sources() == []
    assert await offered(engine) == []
    assert await paths(engine) == {"a": True}
    with pytest.raises(RepositoryNotFoundError):
        await engine.catalog.repositories.version("acs:near:")
    with pytest.raises(AlternateSourceNotFoundError, match="named 'near'"):
        await refresh(engine)


async def test_a_source_of_a_program_keeps_its_remote_when_it_is_removed(engine: Engine) -> None:
    await engine.add_alternate_source("own", Remote(name="theirs", url="http://localhost/"))
    (source,) = await engine.catalog.remotes.alternate_sources()

    with pytest.raises(DeclarationError, match="without a kind of upstream"):
        await refresh(engine, "own")
    await alternate_sources.remove_alternate_source(engine, "own")

    assert source.kind is None
    assert list(await engine.catalog.remotes.load(["theirs"])) == ["theirs"]


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ({"name": "a:b"}, "without ':'"),
        ({"name": "a b"}, "white space"),
        ({"paths": ("x/", "x/")}, "a path is given twice"),
    ],
)
async def test_what_cannot_be_a_source_is_refused_before_it_is_recorded(
    engine: Engine, how: Mapping[str, object], reason: str
) -> None:
    with pytest.raises(DeclarationError, match=reason):
        await add(engine, "http://localhost/", **how)  # type: ignore[arg-type]

    assert await engine.catalog.remotes.alternate_sources() == []


async def test_a_source_does_not_change_its_kind(engine: Engine) -> None:
    await add(engine, "http://localhost/")
    other = Remote(name=remote_name("near", "other"), url="http://localhost/")

    with pytest.raises(DeclarationError, match="not one of kind 'other'; remove it first"):
        await alternate_sources.add_alternate_source(
            engine, "near", "other", other, priority=0, paths=()
        )


@pytest.mark.parametrize(
    ("url", "path", "expected"),
    [
        ("http://h/x", "", "http://h/x"),
        ("http://h/x", "a/", "http://h/x/a/"),
        ("http://h/x/", "/a/", "http://h/x/a/"),
    ],
)
def test_paths_lie_below_the_url(url: str, path: str, expected: str) -> None:
    assert path_url(url, path) == expected
