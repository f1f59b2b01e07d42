"""The file source through a whole sync: policies, mirror and additive, replacement, refusals."""

from pathlib import Path

import pytest

from flowsync import Engine, MetadataError
from flowsync.errors import RepositoryVersionError, SizeMismatchError
from tests.integration.sync.conftest import Publish, Sync, paths
from tests.upstream.server import Upstream

FILES = {"a.txt": b"one", "sub/b.txt": b"two", "with, comma.txt": b"three", "empty": b""}


@pytest.mark.parametrize("policy", ["immediate", "on_demand", "streamed"])
async def test_first_sync_makes_version_1_and_the_second_none(
    policy: str, engine: Engine, publish: Publish, file_sync: Sync
) -> None:
    url = publish(FILES)

    first = await file_sync(url, remote={"policy": policy}).acreate()
    second = file_sync(url, remote={"policy": policy}, force=True)
    again = await second.acreate()

    assert first is not None
    assert (first.number, first.added, first.present) == (1, 4, 4)
    assert again is None
    assert second.result is not None
    assert (second.result.version, second.result.present, second.result.skipped) == (None, 4, False)
    assert await paths(engine) == dict.fromkeys(FILES, policy == "immediate")


async def test_immediate_after_lazy_fills_every_artifact_without_a_version(
    engine: Engine, publish: Publish, file_sync: Sync
) -> None:
    url = publish(FILES)
    await file_sync(url, remote={"policy": "on_demand"}).acreate()

    sync = file_sync(url)
    version = await sync.acreate()

    assert version is None
    assert sync.result is not None
    assert sync.result.downloaded == 4
    assert await paths(engine) == dict.fromkeys(FILES, True)


async def test_lazy_content_whose_bytes_are_here_is_complete_for_free(
    engine: Engine, upstream: Upstream, publish: Publish, file_sync: Sync
) -> None:
    """Deferred artifacts are swapped for stored ones too."""
    url = publish(FILES)
    await file_sync(url, name="one").acreate()

    await file_sync(url, name="two", remote={"policy": "on_demand"}).acreate()

    assert await paths(engine, "two") == dict.fromkeys(FILES, True)
    assert upstream.count("/a.txt") == 1


async def test_additive_sync_replaces_a_changed_file_and_keeps_the_others(
    engine: Engine, publish: Publish, file_sync: Sync
) -> None:
    """Equal paths, other bytes."""
    await file_sync(publish({"a": b"1", "b": b"2", "c": b"3"})).acreate()

    version = await file_sync(publish({"a": b"one", "b": b"two", "c": b"three"})).acreate()

    assert version is not None
    assert (version.number, version.present, version.added) == (2, 3, 3)


async def test_additive_sync_keeps_what_upstream_no_longer_has(
    engine: Engine, publish: Publish, file_sync: Sync
) -> None:
    await file_sync(publish({"a": b"1", "b": b"2"})).acreate()

    version = await file_sync(publish({"c": b"3"})).acreate()

    assert version is not None
    assert (version.added, version.removed) == (1, 0)
    assert set(await paths(engine)) == {"a", "b", "c"}


async def test_mirror_removes_what_upstream_no_longer_has(
    engine: Engine, publish: Publish, file_sync: Sync
) -> None:
    await file_sync(publish({"a": b"1", "b": b"2", "c": b"3"}), mirror=True).acreate()

    version = await file_sync(publish({"b": b"2", "d": b"4"}), mirror=True).acreate()

    assert version is not None
    assert (version.number, version.added, version.removed, version.present) == (2, 1, 2, 2)
    assert set(await paths(engine)) == {"b", "d"}
    assert set(await paths(engine, number=1)) == {"a", "b", "c"}


async def test_a_wrong_size_names_url_and_sizes_and_stores_nothing(
    engine: Engine, upstream: Upstream, file_sync: Sync
) -> None:
    upstream.put("/a", b"12345")
    sha256 = "5994471abb01112afcc18159f6cc74b4f511b99806da59b3caf5a9c173cacfc5"
    url = upstream.put("/PULP_MANIFEST", f"a,{sha256},6".encode())

    with pytest.raises(SizeMismatchError, match=r"/a: size is 5 bytes, expected 6"):
        await file_sync(url).acreate()

    assert (await engine.store.usage()).blobs == 0
    assert [version.number for version in await engine.catalog.repositories.versions("files")] == [
        0
    ]


async def test_a_manifest_that_contradicts_a_stored_size_is_refused_like_a_fresh_one(
    upstream: Upstream, publish: Publish, file_sync: Sync
) -> None:
    await file_sync(publish({"a": b"12345"})).acreate()
    sha256 = "5994471abb01112afcc18159f6cc74b4f511b99806da59b3caf5a9c173cacfc5"
    url = upstream.put("/PULP_MANIFEST", f"a,{sha256},6".encode())

    with pytest.raises(SizeMismatchError):
        await file_sync(url).acreate()


async def test_an_invalid_manifest_makes_no_version_and_names_the_line(
    engine: Engine, upstream: Upstream, file_sync: Sync
) -> None:
    url = upstream.put("/PULP_MANIFEST", b"# fine\n\nthis is no manifest line\n")

    with pytest.raises(MetadataError, match=r"line 3.*this is no manifest line"):
        await file_sync(url).acreate()

    assert (await engine.catalog.repositories.version("files")).number == 0


async def test_one_path_with_two_contents_is_refused_by_name(
    engine: Engine, upstream: Upstream, publish: Publish, file_sync: Sync
) -> None:
    """Before anything of it is downloaded."""
    publish({"other": b"2"})
    one = upstream.put("/same", b"1")
    assert one
    digests = [
        "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b",
        "d4735e3a265e16eee03f59718b9b5d03019c07d8b6c51f90da3a666eec13ab35",
    ]
    lines = "\n".join(f"same,{digest},1" for digest in digests)
    url = upstream.put("/PULP_MANIFEST", lines.encode())

    with pytest.raises(MetadataError, match=r"lines 1 and 2 contradict each other: .* 'same'"):
        await file_sync(url).acreate()

    assert upstream.count() == 1
    assert (await engine.catalog.repositories.version("files")).number == 0


async def test_nested_paths_are_refused_by_name(
    engine: Engine, publish: Publish, file_sync: Sync
) -> None:
    url = publish({"a/b": b"1", "a/b/c": b"2"})

    with pytest.raises(RepositoryVersionError, match="a/b"):
        await file_sync(url, remote={"policy": "on_demand"}).acreate()

    assert (await engine.catalog.repositories.version("files")).number == 0


async def test_a_file_url_is_synced_and_its_folder_left_alone(
    engine: Engine, tmp_path: Path, file_sync: Sync
) -> None:
    folder = tmp_path / "up stream #1"
    folder.mkdir()
    (folder / "50%.txt").write_bytes(b"one")
    sha256 = "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed"
    (folder / "PULP_MANIFEST").write_text(f"50%.txt,{sha256},3\n")

    version = await file_sync((folder / "PULP_MANIFEST").as_uri()).acreate()

    assert version is not None
    assert await paths(engine) == {"50%.txt": True}
    assert sorted(path.name for path in folder.iterdir()) == ["50%.txt", "PULP_MANIFEST"]
    assert (folder / "50%.txt").read_bytes() == b"one"
