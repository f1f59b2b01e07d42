"""Files behind `file://` URLs."""

import asyncio
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from flowsync.download.local_files import FileOrigin
from flowsync.download.transfer.attempt import Tally
from flowsync.download.transfer.spool import Spool
from flowsync.errors import (
    BrokenBodyError,
    ForbiddenPathError,
    OversizedBodyError,
    SizeMismatchError,
    UnreadableFileError,
    UnsupportedUrlError,
)
from flowsync.model.remote import FetchRequest, Received, Remote, Validators


async def fetch(
    url: str, roots: Sequence[Path] | None = None, **fields: Any
) -> tuple[bytes, Received]:
    request = FetchRequest(url=url, remote=Remote(name="r", url="file:///"), **fields)
    sink = Spool("/nowhere", 1 << 30)
    received = await FileOrigin(roots).attempt(request, sink, Tally(request))
    await sink.finish()
    assert sink.body is not None
    return sink.body, received


def url_of(path: Path) -> str:
    return f"file://{quote(str(path))}"


@pytest.mark.parametrize("size", [0, 1, 4096, 1 << 20, (1 << 20) + 1, 3 << 20])
async def test_file_of_any_size_arrives(tmp_path: Path, size: int) -> None:
    body = os.urandom(size)
    (tmp_path / "a").write_bytes(body)

    found, received = await fetch(url_of(tmp_path / "a"), size=size)

    assert found == body
    assert received.size == size


async def test_source_is_left_as_it_was(tmp_path: Path) -> None:
    source = tmp_path / "a"
    source.write_bytes(b"body")
    source.chmod(0o400)
    before = source.stat()

    await fetch(url_of(source))

    after = source.stat()
    assert (after.st_ino, after.st_mtime_ns, after.st_mode, after.st_nlink) == (
        before.st_ino,
        before.st_mtime_ns,
        before.st_mode,
        1,
    )


@pytest.mark.parametrize("name", ["a b", "ä", "what?", "no#1", "50%", "a,b;c", "x%20y"])
async def test_every_name_can_be_said_in_a_url(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"body")

    assert (await fetch(url_of(tmp_path / name)))[0] == b"body"


@pytest.mark.parametrize("name", ["what?", "no#1", "what?no#1"])
async def test_question_mark_and_hash_belong_to_the_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"body")

    assert (await fetch(f"file://{tmp_path}/{name}"))[0] == b"body"


async def test_name_that_is_not_utf8_is_found(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/\xff"
    with open(path, "wb") as file:
        file.write(b"body")

    assert (await fetch(f"file://{tmp_path}/%FF"))[0] == b"body"


async def test_localhost_is_here(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"body")

    assert (await fetch(f"file://localhost{tmp_path}/a"))[0] == b"body"


@pytest.mark.parametrize("url", ["file://host/a", "file://user:secret@/a", "file://", "file://a"])
async def test_url_that_is_not_of_this_machine_is_refused(url: str) -> None:
    with pytest.raises(UnsupportedUrlError) as refused:
        await fetch(url)

    assert "secret" not in str(refused.value)


async def test_roots_admit_what_lies_below_them_only(tmp_path: Path) -> None:
    data, beside = tmp_path / "data", tmp_path / "data2"
    for folder in (data, beside):
        folder.mkdir()
        (folder / "a").write_bytes(b"body")

    assert (await fetch(url_of(data / "a"), [tmp_path / "other", data]))[0] == b"body"
    for url in (url_of(beside / "a"), f"file://{data}/../data2/a", f"file://{data}/%2e%2e/data2/a"):
        with pytest.raises(ForbiddenPathError):
            await fetch(url, [data])


async def test_link_that_leads_out_of_the_roots_is_refused(tmp_path: Path) -> None:
    data, secret = tmp_path / "data", tmp_path / "secret"
    data.mkdir()
    secret.write_bytes(b"secret")
    (data / "link").symlink_to(secret)

    with pytest.raises(ForbiddenPathError):
        await fetch(url_of(data / "link"), [data])


async def test_roots_and_files_may_be_links_themselves(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a").write_bytes(b"body")
    (tmp_path / "real" / "b").symlink_to("a")
    (tmp_path / "root").symlink_to("real")

    assert (await fetch(url_of(tmp_path / "root" / "b"), [tmp_path / "root"]))[0] == b"body"


async def test_no_roots_allow_nothing(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"body")

    with pytest.raises(ForbiddenPathError):
        await fetch(url_of(tmp_path / "a"), [])


async def test_forbidden_file_does_not_tell_whether_it_exists(tmp_path: Path) -> None:
    with pytest.raises(ForbiddenPathError):
        await fetch(url_of(tmp_path / "missing"), [tmp_path / "data"])


async def test_what_is_no_readable_file_is_an_error_that_says_why(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")

    for url, reason in {
        url_of(tmp_path / "missing"): "No such file",
        url_of(tmp_path): "not a regular file",
        url_of(tmp_path / "pipe"): "not a regular file",
        "file:///dev/zero": "not a regular file",
        url_of(tmp_path / "loop"): "symbolic link",
        "file:///a%00b": "null",
    }.items():
        with pytest.raises(UnreadableFileError, match=reason):
            await fetch(url)


async def test_size_that_differs_is_an_error_before_anything_is_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"body")

    with pytest.raises(SizeMismatchError, match="size is 4 bytes, expected 5"):
        await fetch(url_of(tmp_path / "a"), size=5)
    with pytest.raises(OversizedBodyError):
        await fetch(url_of(tmp_path / "a"), max_size=3)


async def test_known_state_is_not_copied(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"body")
    _, first = await fetch(url_of(tmp_path / "a"))

    for known in (first.validators, Validators(last_modified=first.validators.last_modified)):
        body, again = await fetch(url_of(tmp_path / "a"), validators=known)
        assert (body, again.not_modified) == (b"", True)


async def test_changed_file_is_copied_again(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"body")
    _, first = await fetch(url_of(tmp_path / "a"))
    (tmp_path / "a").write_bytes(b"other")

    body, again = await fetch(url_of(tmp_path / "a"), validators=first.validators)

    assert (body, again.not_modified) == (b"other", False)


class Meddling:
    """A sink that does something to the source when the first bytes have come."""

    held = None

    def __init__(self, source: Path, size: int) -> None:
        self._source = source
        self._size = size

    def begin(self, validator: str | None) -> None:
        raise AssertionError

    async def write(self, chunk: bytes) -> None:
        os.truncate(self._source, self._size)

    def direct(self, size: int) -> None:
        pass

    async def restart(self) -> None:
        raise AssertionError

    async def finish(self) -> None:
        raise AssertionError


@pytest.mark.parametrize("size", [0, (3 << 20) - 1, (3 << 20) + 1])
async def test_file_that_changes_while_it_is_read_is_broken(tmp_path: Path, size: int) -> None:
    source = tmp_path / "a"
    source.write_bytes(bytes(3 << 20))
    request = FetchRequest(url=url_of(source), remote=Remote(name="r", url="file:///"))

    with pytest.raises(BrokenBodyError, match="changed while it was read"):
        await FileOrigin(None).attempt(request, Meddling(source, size), Tally(request))


async def test_cancelled_copy_closes_the_file(tmp_path: Path) -> None:
    source = tmp_path / "a"
    source.write_bytes(bytes(8 << 20))
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    copying = asyncio.create_task(fetch(url_of(source)))
    await asyncio.sleep(0)
    copying.cancel()
    await asyncio.wait([copying])
    await asyncio.get_running_loop().shutdown_default_executor()

    open_files = [os.readlink(f"/proc/self/fd/{name}") for name in _descriptors()]

    assert str(source) not in open_files


def _descriptors() -> list[str]:
    return [
        name for name in os.listdir("/proc/self/fd") if os.path.lexists(f"/proc/self/fd/{name}")
    ]
