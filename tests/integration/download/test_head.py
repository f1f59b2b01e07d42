"""Requests for headers alone."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from flowsync.download.fetcher import open_fetcher
from flowsync.errors import RedirectError, StatusError
from flowsync.model.remote import Fetcher, Remote, Validators
from tests.upstream.behaviours import Redirect, Status
from tests.upstream.server import Upstream


@pytest.fixture
async def fetcher(tmp_path: Path) -> AsyncIterator[Fetcher]:
    async with open_fetcher(tmp_path) as fetcher:
        yield fetcher


def remote(fetcher: Fetcher, url: str) -> Remote:
    found = Remote(name="heads", url=url, max_retries=0)
    found.bind(fetcher)
    return found


async def test_headers_come_without_a_body_and_the_connection_goes_on(
    fetcher: Fetcher, upstream: Upstream
) -> None:
    url = upstream.put("/list", b"body" * 1000)
    source = remote(fetcher, url)

    heads = [await source.get_downloader(url=url, method="HEAD").run() for _ in range(3)]
    whole = await source.get_downloader(url=url).run()

    assert [found.path for found in heads] == [None] * 3
    assert [found.headers["content-length"] for found in heads] == ["4000"] * 3
    assert heads[0].validators == whole.validators
    assert [seen.method for seen in upstream.requests("/list")] == ["HEAD"] * 3 + ["GET"]
    assert len({seen.client for seen in upstream.requests("/list")}) == 1


async def test_a_status_and_a_foreign_redirect_are_told_as_for_a_body(
    fetcher: Fetcher, upstream: Upstream
) -> None:
    url = upstream.put("/list", b"body")
    source = remote(fetcher, url)
    upstream.script("/list", Status(404))
    with pytest.raises(StatusError, match="404"):
        await source.get_downloader(url=url, method="HEAD").run()

    upstream.script("/list", Redirect("http://127.0.0.1:1/"))
    with pytest.raises(RedirectError):
        await source.get_downloader(url=url, method="HEAD", same_origin=True).run()


async def test_what_is_unchanged_and_what_a_file_says_is_told(
    fetcher: Fetcher, upstream: Upstream, tmp_path: Path
) -> None:
    url = upstream.put("/list", b"body")
    source = remote(fetcher, url)
    first = await source.get_downloader(url=url, method="HEAD").run()
    known = Validators(first.validators.etag)
    again = await source.get_downloader(url=url, method="HEAD", validators=known).run()
    file = tmp_path / "file"
    file.write_bytes(b"body")
    local = (
        await remote(fetcher, f"file://{file}")
        .get_downloader(url=f"file://{file}", method="HEAD")
        .run()
    )

    assert again.not_modified
    assert (local.path, local.validators.etag is None) == (None, False)
