"""What comes from outside unclean leaves a sync whole: an error of its source, or clean text, and
nothing of this machine.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from flowsync import Engine
from flowsync.errors import ForbiddenPathError
from tests.integration.stages.conftest import declare, declare_artifact, remote, sync
from tests.integration.sync.conftest import Sync, paths
from tests.upstream.raw import RawUpstream, answer

FILES = {"a": b"one", "b": b"two", "c": b"three"}


@pytest.fixture
def raw() -> Iterator[RawUpstream]:
    with RawUpstream() as server:
        yield server


def publish(raw: RawUpstream, **replaced: bytes) -> str:
    """Let the upstream have FILES, with other answers for some; return the URL of its folder."""
    lines = [
        f"{name},{hashlib.sha256(body).hexdigest()},{len(body)}" for name, body in FILES.items()
    ]
    manifest = "\n".join(lines).encode()
    tag = b'ETag: "caf\xe9"'
    raw.say("/PULP_MANIFEST", answer(f"Content-Length: {len(manifest)}", tag, body=manifest))
    for name, body in FILES.items():
        said = answer(f"Content-Length: {len(body)}", tag, "Server: \xf3\x07", body=body)
        raw.say(f"/{name}", replaced.get(name, said))
    return raw.url()


@pytest.mark.parametrize(
    "said",
    [
        answer("Content-Length: 0", status="404 No se encontr\xf3"),
        answer("Content-Length: 0", "Location: http://a..b/", status="302 Found"),
        answer("Content-Length: 0", "Location: /" + "x" * 9000 + "\x00", status="302 Found"),
        answer("Content-Length: 3", "Content-Range: bytes \xf3", body=b"two", status="206 \xf3"),
        b"HTTP/1.1 200 OK\r\nX\x00: \xf3\r\n\r\n",
    ],
)
async def test_unclean_answer_leaves_out_its_file_only(
    engine: Engine, raw: RawUpstream, file_sync: Sync, said: bytes
) -> None:
    declarative = file_sync(publish(raw, b=said), on_error="skip")

    version = await declarative.acreate()

    assert version is not None
    assert await paths(engine) == {"a": True, "c": True}
    assert declarative.result is not None
    (left_out,) = declarative.result.left_out
    assert left_out.url == raw.url("/b")
    assert left_out.reason.isprintable()
    (run,) = await engine.catalog.runs.newest("files")
    assert run.state == "completed"


async def test_unclean_headers_are_no_hindrance_and_no_validators(
    engine: Engine, raw: RawUpstream, file_sync: Sync
) -> None:
    url = publish(raw)

    await file_sync(url).acreate()
    await file_sync(url).acreate()

    assert await paths(engine) == dict.fromkeys(FILES, True)
    assert all("if-none-match" not in seen.headers for seen in raw.seen)


@pytest.mark.parametrize("workers", [0, 1])
async def test_metadata_of_another_host_names_no_file_of_this_machine(
    conninfo: str, tmp_path: Path, workers: int
) -> None:
    item = declare("evil", declare_artifact(remote(), "file:///etc/hostname", path="hostname"))
    async with Engine(tmp_path / "own", database_url=conninfo, workers=workers) as engine:
        with pytest.raises(ForbiddenPathError, match="only a remote that is file:// itself"):
            await sync(engine, [item]).acreate()
