"""Indexes that lie, point elsewhere, or are broken."""

import json

import pytest

from flowsync import Engine, MetadataError
from flowsync.errors import IntegrityError, OversizedBodyError, RedirectError, TransferError
from scripts.python_index import json_file, wheel
from tests.integration.serve.conftest import Client
from tests.integration.sources.pypi.conftest import FILES, JSON, FakeIndex, SyncPypi, some_wheels
from tests.upstream.behaviours import Lie, Redirect, Unmeasured
from tests.upstream.server import Upstream


def with_size(size: int) -> bytes:
    """Return a page with one file of a size."""
    file = json_file(some_wheels()[0], "http://localhost/x.whl", {"size": size})
    return json.dumps({"meta": {"api-version": "1.1"}, "name": "fx-main", "files": [file]}).encode()


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
        "http://169.254.169.254/latest/fx_main-1.0-py3-none-any.whl",
        "http://0x7f.1/fx_main-1.0-py3-none-any.whl",
        "//2130706433/fx_main-1.0-py3-none-any.whl",
    ],
)
async def test_a_file_that_must_not_be_asked_for_is_left_out(
    index: FakeIndex, sync: SyncPypi, url: str
) -> None:
    one, two, _ = some_wheels()
    index.put("fx-main", one, two, fields={one.filename: {"url": url}})

    result = await sync()

    assert (result.present, result.downloaded) == (2, 2)  # the other one, with its metadata


@pytest.mark.parametrize(
    "name",
    [
        "../x-1.0.tar.gz",
        "a/../fx_main-1.0.tar.gz",
        "fx\0main-1.0.zip",
        f"fx_main-1.{'0' * 300}.tar.gz",
        "other-1.0-py3-none-any.whl",
        "fx_main-1.0-py3-none-any.whl\n",
        ".metadata",
    ],
)
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
        (with_size(-1), JSON, "size"),
        (with_size(10**20), JSON, "size"),
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


@pytest.mark.parametrize(
    "fields",
    [{"core-metadata": True}, {"provenance": "/packages/one.provenance", "core-metadata": False}],
)
async def test_what_has_no_digest_is_not_brought_from_where_a_redirect_leads(
    index: FakeIndex, sync: SyncPypi, upstream: Upstream, fields: dict[str, object]
) -> None:
    """A redirect may lead to what only this machine can reach, and no digest holds the bytes."""
    one, _, _ = some_wheels()
    index.put("fx-main", one, fields={one.filename: fields})
    upstream.put("/packages/one.provenance", b"{}")
    with Upstream() as elsewhere:
        secret = elsewhere.put("/secret", b"for this machine alone")
        for path in (f"{FILES}{one.filename}.metadata", "/packages/one.provenance"):
            upstream.always(path, Redirect(secret))
        result = await sync(provenance="keep")
        assert elsewhere.count() == 0

    assert (result.present, result.downloaded) == (2, 1)


async def test_credentials_go_to_the_index_alone(
    index: FakeIndex, sync: SyncPypi, upstream: Upstream
) -> None:
    one, _, _ = some_wheels()
    with Upstream() as elsewhere:
        url = elsewhere.put(f"{FILES}{one.filename}", one.body)
        elsewhere.put(f"{FILES}{one.filename}.metadata", one.metadata)
        index.put("fx-main", one, fields={one.filename: {"url": url, "core-metadata": True}})
        await sync(remote={"username": "me", "password": "word"})
        foreign = elsewhere.requests()

    assert len(foreign) == 2
    assert not any("authorization" in map(str.lower, seen.headers) for seen in foreign)
    assert all(
        "authorization" in map(str.lower, seen.headers)
        for seen in upstream.requests()
        if seen.target.startswith("/simple/")
    )


@pytest.mark.parametrize("how", [Lie(by=1 << 30), Unmeasured()], ids=["announced", "streamed"])
async def test_a_page_that_is_too_long_is_broken_off(
    index: FakeIndex, sync: SyncPypi, engine: Engine, upstream: Upstream, how: Lie | Unmeasured
) -> None:
    index.put("fx-main", some_wheels()[0])
    if isinstance(how, Unmeasured):
        index.put_page("fx-main", b" " * ((64 << 20) + 1))
    upstream.always("/simple/fx-main/", how)

    with pytest.raises(OversizedBodyError):
        await sync()

    assert await nothing(engine)
