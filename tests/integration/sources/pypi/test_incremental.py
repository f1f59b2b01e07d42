"""What a second sync asks of an index, and what it keeps."""

from flowsync import Engine
from scripts.python_index import wheel
from tests.integration.sources.pypi.conftest import FakeIndex, SyncPypi, some_wheels


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
    from tests.upstream.behaviours import Status

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
