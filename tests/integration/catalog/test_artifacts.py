"""The artifacts that are recorded."""

import asyncio
from datetime import UTC, datetime

import pytest

from flowsync.catalog.postgres.database import Database
from flowsync.catalog.records.contents import Artifacts
from flowsync.errors import CatalogError
from flowsync.model.artifact import Artifact, StagedArtifact, StoredArtifact
from tests.integration.catalog.rows import digest, staged
from tests.integration.catalog.waiting import lock_waiters

STRONG = frozenset({"sha224", "sha256", "sha384", "sha512", "blake3"})
LONG_AGO = datetime(2001, 2, 3, tzinfo=UTC)


@pytest.fixture
def artifacts(database: Database) -> Artifacts:
    return Artifacts(database, lambda name: f"/blobs/{name[:4]}")


async def test_saved_artifact_comes_back_with_id_digests_and_file(artifacts: Artifacts) -> None:
    [stored] = await artifacts.save([staged(b"hello", "md5")])

    assert stored == StoredArtifact(
        id=stored.id,
        size=5,
        sha256="2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
        md5="5d41402abc4b2a76b9719d911017c592",
        blake3="ea8f163db38682925e4491c5e58d4bb3506ef8c14eb78a86e908c5624a67200f",
        file="/blobs/ea8f",
    )
    assert stored.id > 0


async def test_find_answers_in_the_order_asked(artifacts: Artifacts) -> None:
    one, two = await artifacts.save([staged(b"one"), staged(b"two")])

    found = await artifacts.find(
        [
            Artifact(sha256=digest("sha256", b"two")),
            Artifact(sha256=digest("sha256", b"unknown")),
            Artifact(sha256=digest("sha256", b"one")),
            Artifact(sha256=digest("sha256", b"two")),
        ],
        STRONG,
    )

    assert found == [two, None, one, two]


async def test_find_uses_the_strongest_allowed_digest(artifacts: Artifacts) -> None:
    """One digest of each artifact is looked up, the first that is set and allowed."""
    [stored] = await artifacts.save([staged(b"a", "sha512", "md5")])
    wrong = "0" * 64

    found = await artifacts.find(
        [
            Artifact(sha512=stored.sha512),
            Artifact(blake3=stored.blake3),
            Artifact(sha512=stored.sha512, md5="0" * 32),
            Artifact(sha256=wrong, sha512=stored.sha512),
            Artifact(md5=stored.md5),
            Artifact(size=1),
        ],
        STRONG,
    )

    assert found == [stored, stored, stored, None, None, None]


async def test_find_by_a_weak_digest_where_the_policy_allows_it(artifacts: Artifacts) -> None:
    [stored] = await artifacts.save([staged(b"a", "md5", "sha1", "sha224", "sha384")])

    found = await artifacts.find(
        [
            Artifact(md5=stored.md5),
            Artifact(sha1=stored.sha1),
            Artifact(sha224=stored.sha224),
            Artifact(sha384=stored.sha384),
        ],
        STRONG | {"md5", "sha1"},
    )

    assert found == [stored] * 4


async def test_find_does_not_compare_sizes(artifacts: Artifacts) -> None:
    """The digest decides; a stage may look at the size of what it gets."""
    [stored] = await artifacts.save([staged(b"a")])

    assert await artifacts.find([Artifact(sha256=digest("sha256", b"a"), size=99)], STRONG) == [
        stored
    ]


async def test_find_without_any_digest_asks_nobody(
    artifacts: Artifacts, database: Database
) -> None:
    before = database.round_trips

    assert await artifacts.find([Artifact(), Artifact(md5="0" * 32)], STRONG) == [None, None]
    assert await artifacts.find([], STRONG) == []
    assert database.round_trips == before


async def test_a_batch_is_one_round_trip(artifacts: Artifacts, database: Database) -> None:
    batch = [staged(b"%d" % number) for number in range(100)]
    before = database.round_trips

    stored = await artifacts.save(batch)
    found = await artifacts.find(batch, STRONG)

    assert found == stored
    assert database.round_trips - before == 2


async def test_repeated_artifact_in_a_batch_is_one(artifacts: Artifacts) -> None:
    first, second, third = await artifacts.save([staged(b"a"), staged(b"b"), staged(b"a")])

    assert first == third
    assert first.id != second.id


async def test_saving_again_gives_the_same_artifact(artifacts: Artifacts) -> None:
    [before] = await artifacts.save([staged(b"a")])

    after = await artifacts.save([staged(b"new"), staged(b"a")])

    assert after[1] == before


async def test_saving_nothing_gives_nothing(artifacts: Artifacts) -> None:
    assert await artifacts.save([]) == []


async def test_digest_declared_later_is_added(artifacts: Artifacts) -> None:
    [before] = await artifacts.save([staged(b"a", "md5")])

    [after] = await artifacts.save([staged(b"a", "sha512")])

    assert after.id == before.id
    assert after.md5 == before.md5
    assert after.sha512 == digest("sha512", b"a")
    assert await artifacts.find([Artifact(sha512=after.sha512)], STRONG) == [after]


async def test_digests_of_equal_artifacts_in_a_batch_are_put_together(
    artifacts: Artifacts,
) -> None:
    stored = await artifacts.save(
        [staged(b"a", "md5"), staged(b"a", "sha1"), staged(b"a", "sha512")]
    )

    assert stored[0].digests() == staged(b"a", "md5", "sha1", "sha512").digests()
    assert stored == [stored[0]] * 3
    assert await artifacts.find([Artifact(sha256=digest("sha256", b"a"))], STRONG) == [stored[0]]


async def test_blob_that_is_recorded_with_another_sha256_is_an_error(artifacts: Artifacts) -> None:
    good = staged(b"a")
    await artifacts.save([good])
    bad = StagedArtifact(size=1, sha256=digest("sha256", b"b"), blake3=good.blake3, body=b"b")

    with pytest.raises(CatalogError, match="is recorded with another sha256"):
        await artifacts.save([bad])


async def test_find_marks_what_was_not_needed_within_the_hour(
    artifacts: Artifacts, database: Database
) -> None:
    """A look-up protects from clean-up; rows marked within the last hour are left
    alone.
    """
    await artifacts.save([staged(b"old"), staged(b"new"), staged(b"other")])
    await _set_touched(database, b"old", LONG_AGO)
    await _set_touched(database, b"other", LONG_AGO)
    recent = await _touched(database, b"new")

    await artifacts.find(
        [Artifact(sha256=digest("sha256", b"old")), Artifact(sha256=digest("sha256", b"new"))],
        STRONG,
    )

    assert await _touched(database, b"old") > recent
    assert await _touched(database, b"new") == recent
    assert await _touched(database, b"other") == LONG_AGO


async def test_save_marks_what_exists(artifacts: Artifacts, database: Database) -> None:
    """What is uploaded again is protected again."""
    await artifacts.save([staged(b"old")])
    await _set_touched(database, b"old", LONG_AGO)

    await artifacts.save([staged(b"old")])

    assert await _touched(database, b"old") > LONG_AGO


async def test_find_reads_what_was_needed_lately_whoever_holds_it(
    artifacts: Artifacts, database: Database
) -> None:
    [stored] = await artifacts.save([staged(b"a")])

    async with database.transaction() as connection:
        await connection.execute("SELECT id FROM artifact FOR UPDATE")
        found = await artifacts.find([Artifact(sha256=digest("sha256", b"a"))], STRONG)

    assert found == [stored]


@pytest.mark.parametrize("removed", [True, False])
async def test_find_waits_for_whoever_holds_what_was_not_needed_lately(
    artifacts: Artifacts, database: Database, removed: bool
) -> None:
    """Locked rows are not skipped, or a row that clean-up is about to remove would be found."""
    [stored] = await artifacts.save([staged(b"a")])
    await _set_touched(database, b"a", LONG_AGO)

    async with database.transaction() as connection:
        await connection.execute("SELECT id FROM artifact FOR UPDATE")
        finding = asyncio.create_task(
            artifacts.find([Artifact(sha256=digest("sha256", b"a"))], STRONG)
        )
        await lock_waiters(database, 1)
        if removed:
            await connection.execute("DELETE FROM artifact")

    assert await finding == ([None] if removed else [stored])


async def _set_touched(database: Database, body: bytes, when: datetime) -> None:
    async with database.connection() as connection:
        await connection.execute(
            "UPDATE artifact SET touched_at = %s WHERE sha256 = %s",
            (when, bytes.fromhex(digest("sha256", body))),
        )


async def _touched(database: Database, body: bytes) -> datetime:
    async with database.connection() as connection:
        cursor = await connection.execute(
            "SELECT touched_at FROM artifact WHERE sha256 = %s",
            (bytes.fromhex(digest("sha256", body)),),
        )
        row = await cursor.fetchone()
    assert row is not None
    return row[0]
