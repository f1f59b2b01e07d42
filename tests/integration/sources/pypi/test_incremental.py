"""What a second sync asks of an index, and what it keeps."""

from typing import Any

import pytest

from flowsync import Engine, MetadataError
from scripts.python_index import wheel
from tests.integration.sources.pypi.conftest import FakeIndex, SyncPypi, some_wheels
from tests.upstream.behaviours import Hold, Status


async def test_an_unchanged_serial_costs_one_request(index: FakeIndex, sync: SyncPypi) -> None:
    index.put("fx-main", *some_wheels()[:2])
    await sync()
    index.asked()

    again = await sync()

    assert again.skipped
    assert index.asked() == ["HEAD /simple/"]


async def test_of_many_projects_only_the_changed_one_is_asked_for(
    index: FakeIndex, sync: SyncPypi
) -> None:
    for number in range(30):
        index.put(f"p{number:02}", wheel(f"p{number:02}"))
    first = await sync()
    index.put("p07", wheel("p07"), wheel("p07", "2.0"))
    index.asked()

    again = await sync()

    assert index.asked() == ["HEAD /simple/", "GET /simple/", "GET /simple/p07/"]
    assert (again.added, again.removed, again.present) == (1, 0, first.present + 1)


async def test_an_index_without_serials_is_asked_by_entity_tags(
    index: FakeIndex, sync: SyncPypi
) -> None:
    index.serial, index.etags = None, True
    for name in ("a", "b", "c"):
        index.put(name, wheel(name))
    await sync()
    index.asked()

    again = await sync()

    assert again.version is None
    assert index.asked() == ["GET /simple/", *(f"GET /simple/{each}/" for each in "abc")]
    assert [each.status for each in index.upstream.seen] == []


async def test_an_index_with_neither_is_read_again_and_makes_no_version(
    index: FakeIndex, sync: SyncPypi
) -> None:
    index.serial = None
    index.put("a", wheel("a"))
    await sync()

    assert (await sync()).version is None


async def test_a_yank_makes_a_version_without_a_download(index: FakeIndex, sync: SyncPypi) -> None:
    one, two, _ = some_wheels()
    index.put("fx-main", one, two)
    await sync()
    index.put("fx-main", one, two, fields={one.filename: {"yanked": "it is bad "}})

    yanked = await sync()
    index.put("fx-main", one, two)
    back = await sync()

    assert (yanked.added, yanked.removed, yanked.downloaded) == (1, 1, 0)
    assert (back.added, back.removed, back.downloaded) == (1, 1, 0)


async def test_a_project_that_is_gone_goes_and_one_that_fails_stays(
    index: FakeIndex, sync: SyncPypi, engine: Engine
) -> None:
    for name in ("a", "b", "c"):
        index.put(name, wheel(name))
    await sync()
    index.put("b", wheel("b"), wheel("b", "2.0"))
    index.upstream.script("/simple/b/", Status(503))
    del index.projects["c"]
    index.put_list()

    result = await sync(how={"on_error": "skip"})
    later = await sync(how={"on_error": "skip"})

    assert [left.relative_path for left in result.left_out] == ["simple/b/"]
    assert (result.added, result.removed) == (0, 2)
    assert later.added == 1


async def test_a_serial_that_goes_down_lets_all_be_read_again(
    index: FakeIndex, sync: SyncPypi
) -> None:
    index.put("a", wheel("a"))
    index.put("b", wheel("b"))
    await sync()
    index.serial = 0
    index.put("a", wheel("a"))
    index.asked()

    again = await sync()

    assert again.version is None
    assert {"GET /simple/a/", "GET /simple/b/"} <= {*index.asked()}


async def test_the_old_page_under_a_new_serial_is_asked_for_until_it_is_the_new_one(
    index: FakeIndex, sync: SyncPypi
) -> None:
    """A cache between may hand out the page of last time after the list tells of a release. To
    remember the list's serial for that page loses the release.
    """
    index.put("a", wheel("a"))
    index.put("b", wheel("b"))
    await sync()
    index.serial = 10
    index.projects["a"] = ("a", 10)
    index.put_list()

    stale = await sync()
    index.asked()
    again = await sync()
    asked = index.asked()
    index.serial = 9
    index.put("a", wheel("a"), wheel("a", "2.0"))
    later = await sync()
    index.asked()
    await sync()

    assert (stale.version, again.version, later.added) == (None, None, 1)
    assert asked == ["HEAD /simple/", "GET /simple/", "GET /simple/a/"]
    assert index.asked() == ["HEAD /simple/"]


async def test_after_a_page_failed_named_projects_cost_one_request_again(
    index: FakeIndex, sync: SyncPypi
) -> None:
    for name in ("a", "b"):
        index.put(name, wheel(name))
    index.upstream.script("/simple/b/", Status(503))
    await sync(projects=("a", "b"), how={"on_error": "skip"})
    index.asked()

    later = await sync(projects=("a", "b"), how={"on_error": "skip"})
    asked = index.asked()
    again = await sync(projects=("a", "b"), how={"on_error": "skip"})

    assert (later.added, again.skipped) == (2, True)
    assert asked == ["HEAD /simple/", "GET /simple/a/", "GET /simple/b/"]
    assert index.asked() == ["HEAD /simple/"]


async def test_a_page_that_ends_the_sync_ends_the_requests_of_others(
    index: FakeIndex, sync: SyncPypi
) -> None:
    for name in ("a", "b", "c"):
        index.put(name, wheel(name))
    index.put_page("a", b"{")
    for name in ("b", "c"):
        index.upstream.always(f"/simple/{name}/", Hold())

    with pytest.raises(MetadataError, match="simple/a/"):
        await sync()


@pytest.mark.parametrize("suffix", [".metadata", ".provenance"])
async def test_what_stands_beside_a_file_and_fails_for_now_is_asked_for_again(
    index: FakeIndex, sync: SyncPypi, suffix: str
) -> None:
    one, two, leaf = some_wheels()
    url = index.upstream.put("/packages/about-one", b"{}")
    said: dict[str, dict[str, Any]] = {
        ".metadata": {"core-metadata": True},
        ".provenance": {"provenance": url, "core-metadata": False},
    }
    path = {".metadata": f"/packages/{one.filename}.metadata", ".provenance": "/packages/about-one"}
    index.put("fx-main", one, two, fields={one.filename: said[suffix]})
    index.put("fx-leaf", leaf)
    index.upstream.script(path[suffix], Status(503))

    first = await sync(provenance="keep", how={"on_error": "skip"})
    later = await sync(provenance="keep", how={"on_error": "skip"})
    again = await sync(provenance="keep", how={"on_error": "skip"})

    assert [left.relative_path for left in first.left_out] == ["simple/fx-main/"]
    assert (first.present, later.present, again.skipped) == (2, 2 + 3, True)


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2", "1.3", "1.4", "1.9"])
async def test_each_minor_version_of_the_format_is_the_same_units(
    index: FakeIndex, sync: SyncPypi, version: str
) -> None:
    index.put("fx-main", *some_wheels()[:2])
    await sync()
    meta = {"meta": {"api-version": version, "_last-serial": "7"}, "unheard-of": [1]}
    index.serial = 7
    index.put("fx-main", *some_wheels()[:2], page=meta)

    assert (await sync()).version is None
