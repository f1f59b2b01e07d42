"""A catalog and the store of its bytes: other homes and other databases are refused before anything
is done.
"""

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import msgspec
import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from flowsync.engine.engine import Engine
from flowsync.errors import StoreError, StoreMismatchError
from flowsync.model.artifact import StagedArtifact
from flowsync.testing.bodies import in_memory
from tests.postgres import temporary_database


@pytest.fixture
def other_conninfo(postgres: str) -> Iterator[str]:
    """Give a second database, which has no schema yet."""
    with temporary_database(postgres) as name:
        yield make_conninfo(postgres, dbname=name)


def engine(home: Path, conninfo: str) -> Engine:
    return Engine(home, database_url=conninfo, hash_workers=1)


async def store_some(home: Path, conninfo: str, *, record: bool = True) -> StagedArtifact:
    """Have bytes stored and recorded, and return what they are."""
    body = uuid4().bytes
    sha256 = hashlib.sha256(body).hexdigest()
    artifact = msgspec.structs.replace(in_memory(body), sha256=sha256)
    async with engine(home, conninfo) as opened:
        await opened.store.persist([artifact])
        if record:
            await opened.catalog.artifacts.save([artifact])
    return artifact


async def refusal(home: Path, conninfo: str) -> str:
    with pytest.raises(StoreMismatchError) as caught:
        await engine(home, conninfo).open()
    return str(caught.value)


async def opens(home: Path, conninfo: str) -> bool:
    async with engine(home, conninfo):
        return True


async def test_second_home_with_the_same_database_is_refused_and_named(
    tmp_path: Path, empty_conninfo: str
) -> None:
    await store_some(tmp_path / "one", empty_conninfo)

    told = await refusal(tmp_path / "two", empty_conninfo)

    assert f"the store {tmp_path}/two/store is not that of database 'flowsync_test_" in told
    assert "it has none of the bytes that are recorded there" in told
    assert f"into {tmp_path}/two/store/identity" in told
    assert await opens(tmp_path / "one", empty_conninfo)


async def test_second_home_that_came_before_any_bytes_makes_the_first_one_another(
    tmp_path: Path, empty_conninfo: str
) -> None:
    assert await opens(tmp_path / "one", empty_conninfo)
    assert await opens(tmp_path / "two", empty_conninfo)

    assert "that catalog has its bytes in store" in await refusal(tmp_path / "one", empty_conninfo)


async def test_new_database_with_the_home_of_another_is_refused(
    tmp_path: Path, empty_conninfo: str, other_conninfo: str
) -> None:
    await store_some(tmp_path, empty_conninfo)

    told = await refusal(tmp_path, other_conninfo)

    assert "it is store " in told
    assert await opens(tmp_path, empty_conninfo)


async def test_what_the_refusal_says_brings_home_and_database_together(
    tmp_path: Path, empty_conninfo: str
) -> None:
    await store_some(tmp_path / "one", empty_conninfo)
    told = await refusal(tmp_path / "two", empty_conninfo)
    identity, _, path = told.rpartition("write ")[2].partition(" into ")

    Path(path).write_text(identity)

    assert await opens(tmp_path / "two", empty_conninfo)


@pytest.mark.parametrize("bound", [True, False], ids=["file removed", "from before"])
async def test_home_without_an_id_that_holds_the_bytes_is_taken(
    tmp_path: Path, empty_conninfo: str, bound: bool
) -> None:
    await store_some(tmp_path, empty_conninfo)
    (tmp_path / "store" / "identity").unlink()
    if not bound:
        with psycopg.connect(empty_conninfo) as connection:
            connection.execute("UPDATE catalog_identity SET store = NULL")

    assert await opens(tmp_path, empty_conninfo)

    assert (tmp_path / "store" / "identity").exists()


async def test_database_restored_from_before_it_was_bound_takes_the_stores_id(
    tmp_path: Path, empty_conninfo: str
) -> None:
    await store_some(tmp_path, empty_conninfo)
    before = (tmp_path / "store" / "identity").read_text()
    with psycopg.connect(empty_conninfo) as connection:
        connection.execute("UPDATE catalog_identity SET store = NULL, id = gen_random_uuid()")

    assert await opens(tmp_path, empty_conninfo)

    assert (tmp_path / "store" / "identity").read_text() == before


async def test_home_with_bytes_of_nobody_is_refused_by_a_new_database(
    tmp_path: Path, empty_conninfo: str, other_conninfo: str
) -> None:
    await store_some(tmp_path, empty_conninfo, record=False)
    (tmp_path / "store" / "identity").unlink()

    assert "it has bytes, and none are recorded there" in await refusal(tmp_path, other_conninfo)


async def test_copy_of_home_and_database_is_the_same_pair(
    tmp_path: Path, postgres: str, empty_conninfo: str
) -> None:
    await store_some(tmp_path / "one", empty_conninfo)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    template = make_conninfo(empty_conninfo).partition("dbname=")[2].split()[0]

    with temporary_database(postgres, template) as name:
        assert await opens(tmp_path / "two", make_conninfo(postgres, dbname=name))


async def test_file_that_holds_no_id_is_named(tmp_path: Path, empty_conninfo: str) -> None:
    assert await opens(tmp_path, empty_conninfo)
    (tmp_path / "store" / "identity").write_text("what?")

    with pytest.raises(StoreError, match=r"store/identity holds no id of a store, found 'what\?'"):
        await engine(tmp_path, empty_conninfo).open()
