"""Bodies as verified files, from every scheme."""

import asyncio
import gzip
import hashlib
import os
from pathlib import Path

import pytest

from flowsync.download.fetcher import open_fetcher
from flowsync.download.transfer.spool import Spool
from flowsync.errors import (
    DigestMismatchError,
    ForbiddenPathError,
    SizeMismatchError,
    TransferError,
)
from flowsync.model.remote import FetchRequest, Remote
from tests.integration.download.conftest import QUICK, Client
from tests.upstream.behaviours import Corrupt, Cut, Gzip, Hang
from tests.upstream.server import Upstream


async def test_download_brings_a_verified_file(
    client: Client, upstream: Upstream, body: bytes
) -> None:
    sha256, md5 = hashlib.sha256(body).hexdigest(), hashlib.md5(body).hexdigest()

    fetched = await client.fetcher.download(
        client.request(
            upstream.put("/a", body),
            expected={"md5": md5.upper()},
            size=300_000,
        )
    )

    assert fetched.path is not None
    assert Path(fetched.path).read_bytes() == body
    assert Path(fetched.path).parent == client.scratch
    assert (fetched.size, fetched.digests) == (300_000, {"sha256": sha256, "md5": md5})


async def test_download_goes_to_the_folder_it_is_asked_for(
    client: Client, upstream: Upstream, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()

    fetched = await client.fetcher.download(
        client.request(upstream.put("/a", b""), folder=str(folder))
    )

    assert [str(path) for path in folder.iterdir()] == [fetched.path]
    assert client.leftovers() == []


async def test_wrong_digest_names_url_expected_and_found_and_leaves_nothing(
    client: Client, upstream: Upstream, body: bytes
) -> None:
    upstream.always("/a", Corrupt())
    wanted = hashlib.sha256(body).hexdigest()

    with pytest.raises(DigestMismatchError) as failed:
        await client.fetcher.download(
            client.request(upstream.put("/a", body) + "?t=secret", expected={"sha256": wanted})
        )

    wrong = hashlib.sha256(b"\xff" + body[1:]).hexdigest()
    assert str(failed.value) == (
        f"{upstream.url('/a?t=***')}: sha256 is {wrong}, expected {wanted}"
    )
    assert upstream.count("/a") == 4
    assert client.leftovers() == []


async def test_wrong_size_leaves_nothing(client: Client, upstream: Upstream, body: bytes) -> None:
    upstream.put("/a", body)

    with pytest.raises(SizeMismatchError):
        await client.fetcher.download(client.request(upstream.url("/a"), size=1))

    assert client.leftovers() == []


async def test_broken_download_leaves_nothing(
    client: Client, upstream: Upstream, body: bytes
) -> None:
    upstream.always("/a", Cut(1000))

    with pytest.raises(TransferError):
        await client.fetcher.download(client.request(upstream.put("/a", body)))

    assert client.leftovers() == []


@pytest.mark.parametrize("turns", [0, 1, 5, 20, 50, 100, 200])
async def test_download_cancelled_at_any_instant_leaves_nothing(
    client: Client, upstream: Upstream, turns: int
) -> None:
    upstream.script("/a", Hang(after=3 << 20))
    url = upstream.put("/a", bytes(4 << 20))

    downloading = asyncio.create_task(client.fetcher.download(client.request(url)))
    for _ in range(turns):
        await asyncio.sleep(0)
    downloading.cancel()
    await asyncio.wait([downloading])

    assert downloading.cancelled()
    assert client.leftovers() == []


async def test_metadata_may_be_compressed_on_its_way(
    client: Client, upstream: Upstream, body: bytes
) -> None:
    upstream.script("/a", Gzip())

    fetched = await client.fetcher.download(client.request(upstream.put("/a", body)))

    assert fetched.digests == {"sha256": hashlib.sha256(body).hexdigest()}


async def test_promised_bytes_are_never_unpacked(client: Client, upstream: Upstream) -> None:
    upstream.script("/a", Gzip(), Gzip())
    url = upstream.put("/a", b"body")
    client.fields["max_retries"] = 0

    with pytest.raises(DigestMismatchError):
        await client.fetcher.download(
            client.request(url, expected={"sha256": hashlib.sha256(b"body").hexdigest()})
        )

    assert upstream.seen[0].headers["accept-encoding"] == "identity"


async def test_compressed_file_is_never_unpacked(client: Client, upstream: Upstream) -> None:
    upstream.script("/a.gz", Gzip())

    fetched = await client.fetcher.download(client.request(upstream.put("/a.gz", b"body") + "?x"))

    assert upstream.seen[0].headers["accept-encoding"] == "identity"
    assert Path(fetched.path or "").read_bytes() == gzip.compress(b"body", mtime=0)


async def test_nothing_newer_is_no_file(client: Client, upstream: Upstream) -> None:
    url = upstream.put("/a", b"body")
    first = await client.fetcher.download(client.request(url))

    again = await client.fetcher.download(client.request(url, validators=first.validators))

    assert (again.not_modified, again.path, again.size, again.digests) == (True, None, 0, {})
    assert client.leftovers() == [Path(first.path or "")]


async def test_local_files_are_fetched_conditionally_too(tmp_path: Path) -> None:
    source, scratch = tmp_path / "PULP_MANIFEST", tmp_path / "scratch"
    source.write_bytes(b"manifest")
    scratch.mkdir()
    remote = Remote(name="local", url=f"file://{tmp_path}")

    async with open_fetcher(str(scratch), [tmp_path], backoff=QUICK) as fetcher:
        request = FetchRequest(url=source.as_uri(), remote=remote)
        first = await fetcher.download(request)
        known = FetchRequest(url=source.as_uri(), remote=remote, validators=first.validators)
        again = await fetcher.download(known)

    assert Path(first.path or "").read_bytes() == b"manifest"
    assert (again.not_modified, again.path) == (True, None)


async def test_roots_of_the_engine_hold(client: Client, tmp_path: Path) -> None:
    client.fields["url"] = "file:///"

    with pytest.raises(ForbiddenPathError):
        await client.fetcher.download(client.request((tmp_path / "a").as_uri()))


@pytest.mark.parametrize("url", ["http://host/", "https://host/", "ftp://host/"])
@pytest.mark.parametrize("given", ["file:///etc/hostname", "FILE://localhost/etc/hostname"])
async def test_remote_that_is_no_folder_reads_no_file_of_this_machine(
    tmp_path: Path, url: str, given: str
) -> None:
    request = FetchRequest(url=given, remote=Remote(name="r", url=url))

    async with open_fetcher(tmp_path) as fetcher:
        with pytest.raises(ForbiddenPathError, match="only a remote that is file:// itself"):
            await fetcher.download(request)
        with pytest.raises(ForbiddenPathError):
            await fetcher.stream(request, Spool(str(tmp_path), 1 << 20))


@pytest.mark.parametrize("url", ["file:///a\udcf3%00", "file:///\ud800", "file:///a\0b"])
async def test_file_whose_name_is_none_is_an_error_of_its_source(tmp_path: Path, url: str) -> None:
    request = FetchRequest(url=url, remote=Remote(name="r", url="file:///"))

    async with open_fetcher(tmp_path) as fetcher:
        with pytest.raises(TransferError) as failed:
            await fetcher.download(request)

    assert str(failed.value).isprintable()


async def test_file_with_a_date_that_no_calendar_has_is_read(tmp_path: Path) -> None:
    source = tmp_path / "a"
    source.write_bytes(b"body")
    os.utime(source, (0, -(1 << 34)))
    request = FetchRequest(url=source.as_uri(), remote=Remote(name="r", url="file:///"))

    async with open_fetcher(tmp_path) as fetcher:
        fetched = await fetcher.download(request)

    assert Path(fetched.path or "").read_bytes() == b"body"


async def test_closed_fetcher_fetches_nothing(tmp_path: Path, upstream: Upstream) -> None:
    async with open_fetcher(tmp_path) as fetcher:
        assert not fetcher.closed

    assert fetcher.closed
    with pytest.raises(TransferError, match="closed"):
        await fetcher.download(
            FetchRequest(url=upstream.url("/a"), remote=Remote(name="r", url=upstream.url()))
        )


async def test_remote_gives_downloaders_that_use_the_fetcher(
    client: Client, upstream: Upstream
) -> None:
    remote = Remote(**client.fields)
    remote.bind(client.fetcher)

    result = await remote.get_downloader(url=upstream.put("/a", b"body")).run()

    assert Path(result.path or "").read_bytes() == b"body"
