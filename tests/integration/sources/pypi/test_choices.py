"""What options take and leave, and what becomes of it later."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flowsync import Engine
from scripts.python_index import wheel
from tests.integration.serve.conftest import Client
from tests.integration.sources.pypi.conftest import FakeIndex, SyncPypi, some_wheels


async def test_an_option_that_is_added_is_obeyed_though_the_serial_is_the_same(
    index: FakeIndex, sync: SyncPypi
) -> None:
    one, two, _ = some_wheels()
    index.put("fx-main", one, two)
    await sync(projects=("fx-main>=2",))

    wider = await sync(projects=("fx-main",))
    narrower = await sync(projects=("fx-main<2",))
    kept = await sync(projects=("fx-main>=2",), how={"mirror": False})

    assert (wider.added, wider.removed) == (1, 0)
    assert (narrower.added, narrower.removed) == (0, 1)
    assert (kept.added, kept.removed) == (1, 0)


async def test_a_file_that_is_too_young_comes_from_an_unchanged_index_when_it_is_old_enough(
    index: FakeIndex, sync: SyncPypi, client: Client, server: object
) -> None:
    one, two, _ = some_wheels()
    young = (datetime.now(UTC) - timedelta(hours=2) + timedelta(seconds=3)).isoformat()
    index.put("fx-main", one, two, fields={two.filename: {"upload-time": young}})
    first = await sync(min_age="2h")
    page = await client.get("/py/simple/fx-main/")
    file = await client.get(f"/py/files/fx-main/{two.filename}")
    index.asked()

    early = await sync(min_age="2h")
    asked = index.asked()
    later = early
    while later.skipped:
        later = await sync(min_age="2h")
    grown = await client.get("/py/simple/fx-main/")

    assert (first.present, page.status, file.status) == (2, 200, 404)
    assert two.filename.encode() not in page.body
    assert (early.skipped, asked) == (True, ["HEAD /simple/"])
    assert later.added == 1
    assert two.filename.encode() in grown.body


async def test_a_file_without_a_time_is_refused_where_age_counts(
    index: FakeIndex, sync: SyncPypi
) -> None:
    one, _, _ = some_wheels()
    index.put("fx-main", one, fields={one.filename: {"upload-time": None}})

    refused = await sync(min_age="1d")
    allowed = await sync(min_age="1d", no_time="allow")

    assert (refused.present, allowed.present) == (1, 2)


async def test_a_quarantined_project_is_an_empty_page_and_stays_in_older_versions(
    index: FakeIndex, sync: SyncPypi, client: Client, server: object
) -> None:
    one, _, _ = some_wheels()
    index.put("fx-main", one)
    await sync()
    index.put("fx-main", one, page={"project-status": {"status": "quarantined"}})
    await sync()

    page = await client.get("/py/simple/fx-main/")
    old = await client.get("/py@1/simple/fx-main/")

    path = f"files/fx-main/{one.filename}"
    now, before = await client.get(f"/py/{path}"), await client.get(f"/py@1/{path}")

    assert (now.status, before.status) == (404, 200)
    assert (page.status, old.status) == (200, 200)
    assert one.filename.encode() not in page.body
    assert one.filename.encode() in old.body


async def test_hash_pinned_requirements_take_just_those_files(
    index: FakeIndex, sync: SyncPypi, tmp_path: Path
) -> None:
    one, two, leaf = some_wheels()
    index.put("fx-main", one, two)
    index.put("fx-leaf", leaf)
    pinned = tmp_path / "requirements.txt"
    pinned.write_text(f"fx-main==1.0 --hash=sha256:{one.sha256}\n")

    result = await sync(requirements=(str(pinned),))
    pinned.write_text(f"fx-main==2.0 --hash=sha256:{two.sha256}\n")
    changed = await sync(requirements=(str(pinned),))

    assert result.present == 2
    assert (changed.added, changed.removed) == (1, 1)


async def test_a_stale_page_is_used_and_asked_for_again(index: FakeIndex, sync: SyncPypi) -> None:
    index.put("a", wheel("a"))
    index.put("b", wheel("b"), serial=1)
    await sync()
    index.asked()

    again = await sync()

    assert again.version is None
    assert index.asked() == ["HEAD /simple/", "GET /simple/", "GET /simple/b/"]


async def test_attestations_are_kept_and_served_with_their_type(
    index: FakeIndex, sync: SyncPypi, client: Client, server: object
) -> None:
    one, _, _ = some_wheels()
    url = index.upstream.put("/integrity/one", b'{"version":1}')
    index.put("fx-main", one, fields={one.filename: {"provenance": url}})

    await sync(provenance="keep")
    found = await client.get(f"/py/files/fx-main/{one.filename}.provenance")
    page = await client.get(
        "/py/simple/fx-main/", {"Accept": "application/vnd.pypi.simple.v1+json"}
    )

    assert found.body == b'{"version":1}'
    assert found.headers["content-type"] == "application/vnd.pypi.integrity.v1+json"
    assert b'"provenance"' in page.body


@pytest.mark.parametrize(
    "said",
    [
        b"no json",
        b'{"version":1,"attestation_bundles":[]}',
        (
            b'{"version":1,"attestation_bundles":[{"publisher":{"kind":"GitHub","repository":"a/b",'
            b'"workflow":"w.yml","environment":null},"attestations":[{"version":1,'
            b'"verification_material":{"certificate":"AAAA","transparency_entries":[{}]},'
            b'"envelope":{"statement":"e30=","signature":"AAAA"}}]}]}'
        ),
    ],
)
async def test_a_file_whose_attestations_do_not_hold_is_left_out_and_others_stay(
    index: FakeIndex, sync: SyncPypi, said: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("pypi_attestations")
    one, two, _ = some_wheels()
    url = index.upstream.put("/integrity/two", said)
    index.put("fx-main", one, two, fields={two.filename: {"provenance": url}})

    result = await sync(provenance="verify")

    assert result.present == 2
    assert two.filename in caplog.text
    assert "attestation" in caplog.text


async def test_a_plan_is_what_the_sync_comes_to(
    index: FakeIndex, sync: SyncPypi, engine: Engine
) -> None:
    from flowsync import DeclarativeVersion, Remote, Repository
    from flowsync.sources.pypi import SOURCE, PypiOptions

    one, two, leaf = some_wheels()
    index.put("fx-main", one, two)
    index.put("fx-leaf", leaf)
    remote = Remote(name="py", url=index.url, max_retries=0)
    stage = SOURCE.first_stage(remote, PypiOptions(projects=("*",)))
    plan = await DeclarativeVersion(
        stage, Repository(name="py"), mirror=True, engine=engine
    ).aplan()
    assert all("/packages/" not in each for each in index.asked())

    await sync()

    assert plan.root == (await engine.catalog.repositories.version("py")).root


async def test_an_older_version_stays_as_it_was_after_a_yank_and_a_removal(
    index: FakeIndex, sync: SyncPypi, client: Client, server: object
) -> None:
    one, two, _ = some_wheels()
    index.put("fx-main", one, two)
    await sync()
    before = await client.get("/py@1/simple/fx-main/")
    index.put("fx-main", two, fields={two.filename: {"yanked": " trailing blank "}})
    await sync()

    after = await client.get("/py@1/simple/fx-main/")
    file = await client.get(f"/py@1/files/fx-main/{one.filename}")
    now = await client.get("/py/simple/fx-main/")

    assert (after.body, after.headers["etag"]) == (before.body, before.headers["etag"])
    assert file.body == one.body
    assert one.filename.encode() not in now.body
    assert b'data-yanked=" trailing blank "' in now.body


async def test_a_project_is_found_by_each_spelling_of_its_name(
    index: FakeIndex, sync: SyncPypi, client: Client, server: object
) -> None:
    index.put("Fx.Weird_Name", wheel("Fx.Weird_Name"))

    named = await sync(projects=("fx--WEIRD.name",))
    everything = await sync(name="all")
    moved = await client.get("/py/simple/Fx.Weird_Name/")

    assert (named.present, everything.present) == (2, 2)
    assert (moved.status, moved.headers["location"]) == (301, "../../simple/fx-weird-name/")
