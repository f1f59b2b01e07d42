"""Archives of Debian packages, a mirror that serves them, and real clients."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pysequoia
import pytest

from flowsync import DeclarativeVersion, Engine, Remote, Repository, SyncResult
from flowsync.packages.openpgp import SigningKey
from flowsync.serve.app import ContentServer
from flowsync.sources.deb import SOURCE, DebOptions
from flowsync.sources.deb.stage import DebFirstStage
from scripts.debian_archive import Package, package, write_archive
from tests.integration.sync.conftest import engine as engine
from tests.upstream.server import Upstream


class Archive:
    """An archive in a folder, served by an upstream."""

    def __init__(self, root: Path, upstream: Upstream, key: SigningKey) -> None:
        self.root = root
        self.upstream = upstream
        self.key = key
        self.keyring = root.parent / "archive.asc"
        self.keyring.write_bytes(key.public_key)
        root.mkdir()
        self.url = upstream.serve(root)

    def write(self, packages: Sequence[Package], *, suite: str = "one", **options: Any) -> None:
        """Write a suite with one component."""
        options = {"key": self.key, **options}
        write_archive(self.root, suite, {"main": packages}, **options)

    def options(self, **fields: Any) -> DebOptions:
        """Return options of a sync of the suite `one`."""
        return DebOptions(**{"suites": ("one",), "keyring": str(self.keyring), **fields})


def new_key(name: str = "Archive <archive@example.org>", **how: Any) -> SigningKey:
    """Make a key."""
    return SigningKey(pysequoia.Tsk.generate(name, **how))


@pytest.fixture
def archive(tmp_path: Path, upstream: Upstream) -> Archive:
    return Archive(tmp_path / "archive", upstream, new_key())


SyncDeb = Callable[..., Any]


@pytest.fixture
def sync(engine: Engine, archive: Archive) -> SyncDeb:
    """Sync the archive into the repository `debian`; take fields of the options, and `remote` and
    `how` for those of remote and sync.
    """

    async def run(
        remote: dict[str, Any] | None = None,
        how: dict[str, Any] | None = None,
        name: str = "debian",
        **options: Any,
    ) -> SyncResult:
        source = Remote(**{"name": name, "url": archive.url, "max_retries": 0, **(remote or {})})
        stage = DebFirstStage(source, archive.options(**options), pauses=(0.0, 0.0, 0.0))
        stage.kind_options = stage.options
        fields = {"mirror": True, "max_removal": 1.0, **(how or {})}
        version = DeclarativeVersion(stage, Repository(name=name), engine=engine, **fields)
        await version.acreate()
        assert version.result is not None
        return version.result

    return run


@pytest.fixture
async def server(engine: Engine) -> AsyncIterator[ContentServer]:
    async with ContentServer(engine, kinds=[SOURCE]) as server:
        yield server


@pytest.fixture
def mirror(server: ContentServer) -> str:
    """The address of the mirror, without a name."""
    return f"http://127.0.0.1:{server.addresses[0][1]}"


def needs(*programs: str) -> pytest.MarkDecorator:
    """Skip a test where a program is missing."""
    lacking = [each for each in programs if shutil.which(each) is None]
    return pytest.mark.skipif(bool(lacking), reason=f"{', '.join(lacking)} is not installed")


class Said(str):
    """What a program said; `status` is how it ended."""

    __slots__ = ("status",)

    status: int


class Apt:
    """`apt-get` with everything that it keeps below a folder."""

    def __init__(self, root: Path, line: str, keyring: Path | None) -> None:
        self.root = root
        for folder in (
            *("etc/apt.conf.d", "etc/preferences.d", "etc/trusted.gpg.d", "etc/sources.list.d"),
            *("lists/partial", "cache/archives/partial", "dpkg"),
        ):
            (root / folder).mkdir(parents=True)
        (root / "dpkg/status").touch()
        signed = "trusted=yes" if keyring is None else f"signed-by={keyring}"
        (root / "etc/sources.list").write_text(f"deb [{signed}] {line}\n")

    async def get(self, *words: str) -> Said:
        """Run `apt-get` and return what it said."""
        options = {
            "Dir::Etc": self.root / "etc",
            "Dir::State": self.root,
            "Dir::State::Lists": self.root / "lists",
            "Dir::State::status": self.root / "dpkg/status",
            "Dir::Cache": self.root / "cache",
            "APT::Sandbox::User": "root",
            "APT::Architecture": "amd64",
            "Acquire::Check-Date": "true",
            "Acquire::Check-Valid-Until": "true",
            "Acquire::http::Proxy": "DIRECT",
            "Debug::NoLocking": "1",
        }
        settings = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        return await said("apt-get", "-q", *settings, *words, folder=self.root)


async def said(*command: str, folder: Path, **environment: str) -> Said:
    """Run a program and return what it said."""
    run = await asyncio.to_thread(
        subprocess.run,
        command,
        cwd=folder,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        env=os.environ | {"LC_ALL": "C"} | environment,
    )
    found = Said(run.stdout)
    found.status = run.returncode
    return found


def some_packages() -> list[Package]:
    """Return packages with odd versions, one of which needs another."""
    return [
        package("alpha", "1:1.0+b~1", Depends="libx"),
        package("beta", "2.0"),
        package("libx", "0.9", Section="libs"),
    ]


LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
