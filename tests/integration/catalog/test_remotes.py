"""The remotes that are recorded, the sources of artifacts, and alternate sources."""

from typing import Any

import msgspec
import pytest

from flowsync.catalog.postgres.database import Database
from flowsync.catalog.records.contents import Contents, Link
from flowsync.catalog.records.remotes import Alternate, RecordedSource, Remotes
from flowsync.errors import CatalogError, DeclarationError
from flowsync.model.artifact import Artifact
from flowsync.model.content import key_id
from flowsync.model.remote import AlternateSource, Remote
from tests.integration.catalog.rows import Leaf, by_id, digest

STRONG = frozenset({"sha224", "sha256", "sha384", "sha512", "blake3"})
UNIT = key_id(Leaf("unit"))
OTHER = key_id(Leaf("other"))
SECRETS = (
    "username",
    "password",
    "token",
    "client_cert",
    "client_key",
    "proxy_username",
    "proxy_password",
)


@pytest.fixture
def remotes(database: Database) -> Remotes:
    return Remotes(database)


@pytest.fixture
async def linked(database: Database) -> None:
    """Save two units: one with the paths a, b and c, one with d."""
    contents = Contents(database)
    async with contents.transaction() as transaction:
        await transaction.insert(by_id(Leaf("unit"), Leaf("other")))
        await transaction.link([Link(content_id=UNIT, relative_path=path) for path in "cab"])
        await transaction.link([Link(content_id=OTHER, relative_path="d")])


async def remote_id(remotes: Remotes, name: str = "r") -> int:
    return (await remotes.ids([Remote(name=name, url=f"http://{name}/")]))[name]


def source(
    remote: int, path: str, *urls: str, content: bytes = UNIT, **artifact: Any
) -> RecordedSource:
    return RecordedSource(
        content_id=content,
        relative_path=path,
        remote_id=remote,
        urls=list(urls or [f"http://r/{path}"]),
        artifact=Artifact(**artifact),
    )


async def rows(database: Database, columns: str = "relative_path, urls") -> list[tuple[Any, ...]]:
    async with database.connection() as connection:
        query = f"SELECT {columns} FROM remote_artifact ORDER BY relative_path, remote_id"  # noqa: S608
        return await (await connection.execute(query.encode())).fetchall()


async def test_remotes_get_an_id_by_name_and_keep_it(remotes: Remotes) -> None:
    first = await remotes.ids(
        [Remote(name="b", url="http://b/"), Remote(name="a", url="http://a/")]
    )

    second = await remotes.ids([Remote(name="a", url="http://elsewhere/", policy="streamed")])

    assert sorted(first) == ["a", "b"]
    assert first["a"] != first["b"]
    assert second == {"a": first["a"]}


async def test_remote_that_did_not_change_is_not_written(
    remotes: Remotes, database: Database
) -> None:
    remote = Remote(name="a", url="http://a/", max_retries=5, headers=[("User-Agent", "me")])
    await remotes.ids([remote])
    before = await _row_version(database)

    await remotes.ids([remote])
    same = await _row_version(database)
    remote.max_retries = 6
    await remotes.ids([remote])

    assert same == before
    assert await _row_version(database) != before


async def test_remote_is_loaded_with_all_that_is_no_secret(remotes: Remotes) -> None:
    remote = Remote(
        name="a",
        url="https://a.example.org/",
        policy="on_demand",
        headers=[("User-Agent", "me"), ("Accept", "text/*"), ("accept", "a/b")],
        ca_cert="certificate",
        tls_validation=False,
        proxy_url="http://proxy:3128",
        trust_env=True,
        download_concurrency=7,
        max_retries=9,
        total_timeout=1.5,
        connect_timeout=None,
        stall_timeout=2.0,
    )
    await remotes.ids([remote])

    loaded = await remotes.load(["a", "unknown"])

    assert list(loaded) == ["a"]
    assert msgspec.structs.asdict(loaded["a"]) == msgspec.structs.asdict(remote)


async def test_no_secret_is_recorded(remotes: Remotes, database: Database) -> None:
    with_password = Remote(
        name="a",
        url="http://a/",
        username="s3cret-user",
        password="s3cret-password",
        client_cert="s3cret-client-cert",
        client_key="s3cret-client-key",
        proxy_url="http://proxy/",
        proxy_username="s3cret-proxy-user",
        proxy_password="s3cret-proxy-password",
    )
    with_token = Remote(
        name="b",
        url="http://b/",
        token="s3cret-token",
        headers=[("X-Api-Key", "s3cret"), ("Cookie", "s3cret"), ("User-Agent", "me")],
    )
    with_header = Remote(
        name="c",
        url="http://c/",
        headers=[("Authorization", "Basic s3cret"), ("proxy-authorization", "s3cret")],
    )

    await remotes.ids([with_password, with_token, with_header])

    async with database.connection() as connection:
        cursor = await connection.execute("SELECT remote::text FROM remote ORDER BY name")
        recorded = [text for (text,) in await cursor.fetchall()]
    assert len(recorded) == 3
    assert [text for text in recorded if "s3cret" in text] == []
    loaded = await remotes.load("abc")
    assert [loaded[name].headers for name in "abc"] == [[], [("User-Agent", "me")], []]
    for remote in loaded.values():
        assert [getattr(remote, name) for name in SECRETS] == [None] * len(SECRETS)


async def test_every_setting_of_a_remote_is_known_to_be_secret_or_not(
    remotes: Remotes, database: Database
) -> None:
    """A field that `Remote` gains fails here until someone has put it on one of the two lists."""
    await remotes.ids([Remote(name="a", url="http://a/")])

    async with database.connection() as connection:
        cursor = await connection.execute("SELECT settings FROM remote")
        [(settings,)] = await cursor.fetchall()
    columns = {"name", "url", "policy"}
    fields = {name for name in Remote.__struct_fields__ if not name.startswith("_")}
    assert fields == settings.keys() | columns | set(SECRETS)


async def test_stored_remote_that_no_longer_fits_is_an_error(
    remotes: Remotes, database: Database
) -> None:
    await remotes.ids([Remote(name="a", url="http://a/")])
    async with database.connection() as connection:
        await connection.execute('UPDATE remote SET settings = \'{"max_retries": "many"}\'')

    with pytest.raises(CatalogError, match="reading remote 'a'"):
        await remotes.load(["a"])


@pytest.mark.usefixtures("linked")
async def test_source_is_recorded_with_urls_size_and_digests(
    remotes: Remotes, database: Database
) -> None:
    remote = await remote_id(remotes)
    digests: dict[str, Any] = {
        name: digest(name, b"a") for name in ("sha256", "sha512", "sha384", "sha224", "sha1", "md5")
    }
    declared = source(remote, "a", "http://one/a?x=1#y", "http://two/a", size=3, **digests)

    assert await remotes.save_sources([declared, source(remote, "b")]) == []

    columns = (
        "relative_path, remote_id, urls, size, failed_at, priority, sha256, sha512, sha384, "
        "sha224, sha1, md5"
    )
    assert await rows(database, columns) == [
        (
            "a", remote, ["http://one/a?x=1#y", "http://two/a"], 3, None, 0,
            *(bytes.fromhex(value) for value in digests.values()),
        ),
        ("b", remote, ["http://r/b"], None, None, 0, None, None, None, None, None, None),
    ]  # fmt: skip


@pytest.mark.usefixtures("linked")
async def test_sources_without_a_link_are_told_by_ordinal(
    remotes: Remotes, database: Database
) -> None:
    remote = await remote_id(remotes)

    unmatched = await remotes.save_sources(
        [
            source(remote, "nowhere"),
            source(remote, "a"),
            source(remote, "d"),
            source(remote, "d", content=OTHER),
            source(remote, "nowhere", "http://again"),
        ]
    )

    assert unmatched == [0, 2, 4]
    assert await rows(database, "relative_path") == [("a",), ("d",)]


@pytest.mark.usefixtures("linked")
async def test_the_last_of_two_sources_with_one_key_counts(
    remotes: Remotes, database: Database
) -> None:
    """Sources are told apart by unit, path and remote."""
    remote, other = await remote_id(remotes), await remote_id(remotes, "other")

    await remotes.save_sources(
        [
            source(remote, "a", "http://first"),
            source(other, "a", "http://same"),
            source(remote, "a", "http://same"),
        ]
    )

    assert await rows(database, "remote_id, urls") == [
        (remote, ["http://same"]),
        (other, ["http://same"]),
    ]


@pytest.mark.usefixtures("linked")
async def test_source_learns_what_it_lacks_and_forgets_nothing(
    remotes: Remotes, database: Database
) -> None:
    """Older versions rely on what was declared first."""
    remote = await remote_id(remotes)
    await remotes.save_sources([source(remote, "a", "http://1", sha256=digest("sha256", b"a"))])

    again = source(remote, "a", "http://2", size=2, sha512=digest("sha512", b"a"))
    other = source(remote, "a", "http://3", size=3, sha256=digest("sha256", b"other"))
    await remotes.save_sources([again])
    await remotes.save_sources([other])

    digests = [bytes.fromhex(digest(name, b"a")) for name in ("sha256", "sha512")]
    assert await rows(database, "urls, size, sha256, sha512") == [(["http://3"], 2, *digests)]


@pytest.mark.usefixtures("linked")
async def test_headers_that_choose_the_answer_are_recorded_and_no_others(
    remotes: Remotes, database: Database
) -> None:
    remote = await remote_id(remotes)
    secret = dict.fromkeys(
        ("Authorization", "Cookie", "Proxy-Authorization", "X-Api-Key", "PRIVATE-TOKEN"), "s3cret"
    )
    asked = {"Accept": "application/json", "accept-language": "de", **secret}
    await remotes.save_sources(
        [
            msgspec.structs.replace(source(remote, "a"), headers=asked),
            msgspec.structs.replace(source(remote, "b"), headers=secret),
            source(remote, "c"),
        ]
    )

    kept = {"Accept": "application/json", "accept-language": "de"}
    assert await rows(database, "headers") == [(kept,), (None,), (None,)]

    await remotes.save_sources([source(remote, "a")])
    assert await rows(database, "headers") == [(None,), (None,), (None,)]


@pytest.mark.parametrize("headers", [{"Accept": 5}, {5: "text/plain"}, ["Accept"]])
async def test_headers_that_are_no_text_are_refused(remotes: Remotes, headers: Any) -> None:
    with pytest.raises(DeclarationError, match="headers of 'a' must be text by name"):
        await remotes.save_sources([msgspec.structs.replace(source(1, "a"), headers=headers)])


@pytest.mark.usefixtures("linked")
async def test_source_that_did_not_change_is_not_written(
    remotes: Remotes, database: Database
) -> None:
    remote = await remote_id(remotes)
    sources = [source(remote, "a", "http://1", "http://2", size=1), source(remote, "b")]
    await remotes.save_sources(sources)
    before = await rows(database, "relative_path, xmin::text, ctid::text, xmax::text")

    await remotes.save_sources(sources)

    assert await rows(database, "relative_path, xmin::text, ctid::text, xmax::text") == before


@pytest.mark.usefixtures("linked")
async def test_failure_is_forgotten_when_the_urls_change_and_only_then(
    remotes: Remotes, database: Database
) -> None:
    remote = await remote_id(remotes)
    await remotes.save_sources([source(remote, "a", "http://1"), source(remote, "b", "http://1")])
    async with database.connection() as connection:
        await connection.execute("UPDATE remote_artifact SET failed_at = now()")

    await remotes.save_sources(
        [source(remote, "a", "http://1", size=7), source(remote, "b", "http://1", "http://2")]
    )

    assert await rows(database, "relative_path, size, failed_at IS NULL") == [
        ("a", 7, False),
        ("b", None, True),
    ]


@pytest.mark.usefixtures("linked")
@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://me:hunter2@r/a", "has a URL with credentials in it"),
        ("http://r/a\nhttp://r/b", "has a URL with a line break"),
    ],
)
async def test_url_that_cannot_be_recorded_is_refused(
    remotes: Remotes, url: str, reason: str
) -> None:
    remote = await remote_id(remotes)

    with pytest.raises(DeclarationError, match=reason) as caught:
        await remotes.save_sources([source(remote, "a", url)])

    assert "hunter2" not in str(caught.value)


@pytest.mark.usefixtures("linked")
async def test_a_batch_of_sources_is_one_round_trip(remotes: Remotes, database: Database) -> None:
    remote = await remote_id(remotes)
    before = database.round_trips

    await remotes.save_sources([source(remote, path) for path in ("a", "b", "c", "nowhere")])

    assert database.round_trips - before == 1


@pytest.mark.usefixtures("linked")
async def test_links_come_in_order_of_path(remotes: Remotes) -> None:
    found = await remotes.links_of([OTHER, UNIT, key_id(Leaf("unknown"))])

    assert found == {UNIT: ["a", "b", "c"], OTHER: ["d"]}


async def test_alternate_sources_are_listed_in_the_order_they_are_tried(remotes: Remotes) -> None:
    remote, other = await remote_id(remotes), await remote_id(remotes, "other")
    await remotes.add_alternate_source("b", remote)
    await remotes.add_alternate_source("a", remote, paths=["x/", "y/"])
    await remotes.add_alternate_source("c", remote, priority=1)

    await remotes.add_alternate_source("c", other, priority=2)

    assert await remotes.alternate_sources() == [
        AlternateSource(name="c", remote_name="other", url="http://other/", priority=2),
        AlternateSource(name="a", remote_name="r", url="http://r/", paths=("x/", "y/")),
        AlternateSource(name="b", remote_name="r", url="http://r/"),
    ]


@pytest.mark.usefixtures("linked")
async def test_alternates_are_found_by_any_allowed_digest(remotes: Remotes) -> None:
    """All allowed digests are looked for."""
    remote = await remote_id(remotes)
    await remotes.add_alternate_source("near", remote)
    await remotes.save_sources(
        [
            source(
                remote, "a", "http://r/a", sha256=digest("sha256", b"a"), md5=digest("md5", b"a")
            ),
            source(remote, "b", "http://r/b", "http://r/b2", sha512=digest("sha512", b"b")),
        ]
    )

    found = await remotes.alternates(
        [
            Artifact(sha256=digest("sha256", b"a")),
            Artifact(),
            Artifact(sha256=digest("sha256", b"b"), sha512=digest("sha512", b"b")),
            Artifact(md5=digest("md5", b"a")),
            Artifact(sha256=digest("sha256", b"unknown")),
        ],
        STRONG,
    )

    assert found == [
        [Alternate(["http://r/a"], "r")],
        [],
        [Alternate(["http://r/b", "http://r/b2"], "r")],
        [],
        [],
    ]


@pytest.mark.usefixtures("linked")
async def test_alternates_come_by_priority_and_name_and_once_a_remote(remotes: Remotes) -> None:
    sha256 = digest("sha256", b"a")
    numbers = await remotes.ids([Remote(name=name, url="http://x/") for name in "pqrs"])
    await remotes.save_sources(
        [source(number, "a", f"http://{name}/a", sha256=sha256) for name, number in numbers.items()]
        + [source(numbers["p"], "b", "http://p/b", sha256=sha256)]
    )
    await remotes.add_alternate_source("2", numbers["p"])
    await remotes.add_alternate_source("1", numbers["q"])
    await remotes.add_alternate_source("3", numbers["r"], priority=5)
    await remotes.add_alternate_source("4", numbers["q"], priority=-1)

    [found] = await remotes.alternates([Artifact(sha256=sha256)], STRONG)

    assert found == [
        Alternate(["http://r/a"], "r"),
        Alternate(["http://q/a"], "q"),
        Alternate(["http://p/a"], "p"),
    ]


@pytest.mark.usefixtures("linked")
async def test_alternate_that_never_failed_is_preferred(
    remotes: Remotes, database: Database
) -> None:
    sha256 = digest("sha256", b"a")
    remote = await remote_id(remotes)
    await remotes.add_alternate_source("near", remote)
    await remotes.save_sources([source(remote, path, sha256=sha256) for path in ("a", "b")])
    async with database.connection() as connection:
        await connection.execute(
            "UPDATE remote_artifact SET failed_at = now() - interval '1 year' WHERE "
            "relative_path = 'a'"
        )

    [found] = await remotes.alternates([Artifact(sha256=sha256)], STRONG)

    assert found == [Alternate(["http://r/b"], "r")]


@pytest.mark.usefixtures("linked")
async def test_alternate_that_failed_lately_is_left_alone(
    remotes: Remotes, database: Database
) -> None:
    wanted = [Artifact(sha256=digest("sha256", b"a"))]
    remote = await remote_id(remotes)
    await remotes.add_alternate_source("near", remote)
    await remotes.save_sources([source(remote, "a", sha256=wanted[0].sha256)])
    async with database.connection() as connection:
        await connection.execute("UPDATE remote_artifact SET failed_at = now() - interval '1 min'")

    assert await remotes.alternates(wanted, STRONG) == [[]]
    assert await remotes.alternates(wanted, STRONG, cool_down=59) == [
        [Alternate(["http://r/a"], "r")]
    ]


@pytest.mark.usefixtures("linked")
async def test_remotes_that_are_no_alternate_source_are_not_asked(remotes: Remotes) -> None:
    sha256 = digest("sha256", b"a")
    remote = await remote_id(remotes)
    await remotes.add_alternate_source("near", await remote_id(remotes, "other"))
    await remotes.save_sources([source(remote, "a", sha256=sha256)])

    assert await remotes.alternates([Artifact(sha256=sha256)], STRONG) == [[]]


async def _row_version(database: Database) -> tuple[Any, ...] | None:
    async with database.connection() as connection:
        cursor = await connection.execute("SELECT xmin::text, ctid::text FROM remote")
        return await cursor.fetchone()
