"""Indexes that lie, point elsewhere, or are broken."""

import json

import pytest

from flowsync import Engine, MetadataError
from flowsync.errors import IntegrityError, RedirectError, TransferError
from scripts.python_index import wheel
from tests.integration.serve.conftest import Client
from tests.integration.sources.pypi.conftest import FILES, JSON, FakeIndex, SyncPypi, some_wheels
from tests.upstream.behaviours import Redirect
from tests.upstream.server import Upstream


async def nothing(engine: Engine) -> bool:
    """Say whether the repository has no version."""
    return (await engine.catalog.repositories.version("py")).number == 0


async def test_a_page_that_redirects_elsewhere_is_refused_without_asking_there(
    index: FakeIndex, sync: SyncPypi, engine: Engine, upstream: Upstream
) -> None:
    one, _, _ = some_wheels()
    index.put("fx-main", one)
    with Upstream() as elsewhere:
        elsewhere.put("/simple/fx-main/", b"", content_type=JSON)
        upstream.script("/simple/fx-main/", Redirect(elsewhere.url("/simple/fx-main/")))
        with pytest.raises(RedirectError):
            await sync(projects=("fx-main",))
        assert elsewhere.count() == 0
    assert await nothing(engine)


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/hostname",
        "ftp://example.org/x.whl",
        "http://user:word@localhost/x.whl",
        "http://10.0.0.1/fx_main-1.0-py3-none-any.whl",
        "http://[::1]/fx_main-1.0-py3-none-any.whl",
    ],
)
async def test_a_file_that_must_not_be_asked_for_is_left_out(
    index: FakeIndex, sync: SyncPypi, url: str
) -> None:
    one, two, _ = some_wheels()
    index.put("fx-main", one, two, fields={one.filename: {"url": url}})

    result = await sync()

    assert (result.present, result.downloaded) == (2, 2)  # the other one, with its metadata


@pytest.mark.parametrize("name", ["../x-1.0.tar.gz", "a/../fx_main-1.0.tar.gz", "fx\0main-1.0.zip"])
async def test_a_hostile_name_of_a_file_is_left_out(
    index: FakeIndex, sync: SyncPypi, name: str
) -> None:
    one, two, _ = some_wheels()
    index.put("fx-main", one, two, fields={one.filename: {"filename": name}})

    assert (await sync()).present == 2


@pytest.mark.parametrize(
    ("body", "kind", "said"),
    [
        (b"{", JSON, "JSON"),
        (b"{}", "application/json", "application/json"),
        (b'{"meta":{"api-version":"2.0"},"name":"fx-main","files":[]}', JSON, "2.0"),
        (b'{"meta":{"api-version":"1.0"},"name":"other","files":[]}', JSON, "other"),
        (b"[" * 100_000, JSON, "nested|JSON"),
    ],
)
async def test_a_page_that_cannot_be_understood_makes_no_version(
    index: FakeIndex, sync: SyncPypi, engine: Engine, body: bytes, kind: str, said: str
) -> None:
    index.put("fx-main", some_wheels()[0])
    index.put_page("fx-main", body, kind)

    with pytest.raises(MetadataError, match=said) as caught:
        await sync()

    assert "fx-main" in str(caught.value)
    assert await nothing(engine)


async def test_one_file_with_two_digests_is_an_error_of_its_page(
    index: FakeIndex, sync: SyncPypi
) -> None:
    one, two, _ = some_wheels()
    index.put("fx-main", one, two, fields={two.filename: {"filename": one.filename}})

    with pytest.raises(MetadataError, match="fx-main"):
        await sync()


@pytest.mark.parametrize("suffix", ["", ".metadata"])
async def test_wrong_bytes_are_never_stored(
    index: FakeIndex, sync: SyncPypi, engine: Engine, upstream: Upstream, suffix: str
) -> None:
    one, _, _ = some_wheels()
    index.put("fx-main", one)
    upstream.put(f"{FILES}{one.filename}{suffix}", b"x" * len(one.body))

    with pytest.raises((IntegrityError, TransferError)):
        await sync()

    assert await nothing(engine)


async def test_a_reason_of_a_yank_is_inert_in_html(
    index: FakeIndex, sync: SyncPypi, client: Client, server: object
) -> None:
    one, _, _ = some_wheels()
    index.put("fx-main", one, fields={one.filename: {"yanked": '"><script>alert(1)</script>'}})
    await sync()

    page = await client.get("/py/simple/fx-main/")

    assert b"<script" not in page.body
    assert b"alert(1)" in page.body


async def test_names_of_ones_own_are_never_taken(index: FakeIndex, sync: SyncPypi) -> None:
    index.put("acme-secret", wheel("acme-secret"))
    index.put("other", wheel("other"))

    result = await sync(private=("acme-*",))

    assert result.present == 2
    assert not any("acme" in each for each in index.asked())


async def test_a_list_that_names_what_is_no_name_is_taken_without_it(
    index: FakeIndex, sync: SyncPypi
) -> None:
    index.put("fx-main", some_wheels()[0])
    listed = [{"name": "../etc"}, {"name": "fx-main", "_last-serial": 2}]
    index.upstream.put(
        "/simple/",
        json.dumps({"meta": {"api-version": "1.1"}, "projects": listed}).encode(),
        content_type=JSON,
        etag=None,
        last_modified=None,
    )

    assert (await sync()).present == 2
