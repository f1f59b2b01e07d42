"""An index that says what a test wants, a mirror that serves it, and real clients."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import pytest

from flowsync import DeclarativeVersion, Engine, Remote, Repository, SyncResult
from flowsync.serve.app import ContentServer
from flowsync.sources.pypi import SOURCE, PypiOptions
from flowsync.sources.pypi.pages.names import normalized
from scripts.python_index import Wheel, json_file, wheel
from tests.integration.serve.conftest import client as client
from tests.integration.sync.conftest import engine as engine
from tests.upstream.server import Upstream

JSON = "application/vnd.pypi.simple.v1+json"
FILES = "/packages/"


class FakeIndex:
    """An index of JSON pages. Each change raises its serial, where it has one."""

    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream
        self.serial: int | None = 1
        self.etags = False
        self.projects: dict[str, tuple[str, int | None]] = {}
        self.url = upstream.url("/simple/")

    def put(
        self,
        name: str,
        *wheels: Wheel,
        fields: Mapping[str, Mapping[str, Any]] | None = None,
        page: Mapping[str, Any] | None = None,
        serial: int | None = None,
    ) -> None:
        """Put a project, and the list. `fields` replace what is said of files, by their names;
        `page` adds to the page.
        """
        if self.serial is not None:
            self.serial += 1
        files = []
        for each in wheels:
            url = self.upstream.put(FILES + each.filename, each.body)
            self.upstream.put(f"{FILES}{each.filename}.metadata", each.metadata)
            files.append(json_file(each, url, (fields or {}).get(each.filename)))
        own = self.serial if serial is None else serial
        meta = {"api-version": "1.1"} | ({} if own is None else {"_last-serial": own})
        said = {"meta": meta, "name": name, "files": files, **(page or {})}
        self.put_page(normalized(name), json.dumps(said).encode())
        self.projects[name] = (name, self.serial)
        self.put_list()

    def put_page(self, name: str, body: bytes, content_type: str = JSON) -> None:
        """Put a page as it is."""
        self.upstream.put(
            f"/simple/{name}/",
            body,
            etag="strong" if self.etags else None,
            last_modified=None,
            content_type=content_type,
        )

    def put_list(self) -> None:
        """Put the list of all projects."""
        listed = [
            {"name": name} | ({} if serial is None else {"_last-serial": serial})
            for name, serial in self.projects.values()
        ]
        meta = {"api-version": "1.1"}
        meta |= {} if self.serial is None else {"_last-serial": str(self.serial)}
        self.upstream.put(
            "/simple/",
            json.dumps({"meta": meta, "projects": listed}).encode(),
            etag=None,
            last_modified=None,
            content_type=JSON,
            headers={} if self.serial is None else {"X-PyPI-Last-Serial": str(self.serial)},
        )

    def asked(self) -> list[str]:
        """Return what was asked for since the last call, without bodies of files."""
        seen = [f"{each.method} {each.target}" for each in self.upstream.seen]
        self.upstream.seen.clear()
        return [each for each in seen if FILES not in each]


@pytest.fixture
def index(upstream: Upstream) -> FakeIndex:
    return FakeIndex(upstream)


class SyncPypi(Protocol):
    async def __call__(
        self,
        *,
        url: str | None = None,
        remote: Mapping[str, Any] | None = None,
        how: Mapping[str, Any] | None = None,
        name: str = "py",
        **options: Any,
    ) -> SyncResult: ...


@pytest.fixture
def sync(engine: Engine, index: FakeIndex) -> SyncPypi:
    """Sync the index, by default all of it, into the repository `py`."""

    async def run(
        *,
        url: str | None = None,
        remote: Mapping[str, Any] | None = None,
        how: Mapping[str, Any] | None = None,
        name: str = "py",
        **options: Any,
    ) -> SyncResult:
        fields = {"name": name, "url": url or index.url, "max_retries": 0, **(remote or {})}
        if not ({"projects", "requirements"} & options.keys()):
            options["projects"] = ("*",)
        stage = SOURCE.first_stage(Remote(**fields), PypiOptions(**options))
        terms = {"mirror": True, "max_removal": 1.0, **(how or {})}
        version = DeclarativeVersion(stage, Repository(name=name), engine=engine, **terms)
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
    """The address of the mirror's list."""
    return f"http://127.0.0.1:{server.addresses[0][1]}/py/simple/"


def has_module(name: str) -> bool:
    """Say whether this Python can run a module as a program."""
    found = subprocess.run([sys.executable, "-c", f"import {name}"], check=False)
    return found.returncode == 0


needs_pip = pytest.mark.skipif(not has_module("pip"), reason="pip is not installed")
needs_uv = pytest.mark.skipif(shutil.which("uv") is None, reason="uv is not installed")


async def said(*command: str, folder: Path) -> tuple[int, str]:
    """Run a client, and return its status with what it said."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PIP_", "UV_")) and "proxy" not in name.lower()
    }
    environment |= {"PIP_CONFIG_FILE": "/dev/null", "UV_NO_CONFIG": "1", "HOME": str(folder)}
    run = await asyncio.to_thread(
        subprocess.run,
        command,
        cwd=folder,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        env=environment,
    )
    return run.returncode, run.stdout


async def pip(*words: str, index_url: str, folder: Path) -> tuple[int, str]:
    """Run pip against an index alone."""
    command = [sys.executable, "-m", "pip", words[0], "--disable-pip-version-check"]
    return await said(
        *command, "--no-cache-dir", "--index-url", index_url, *words[1:], folder=folder
    )


def some_wheels() -> tuple[Wheel, Wheel, Wheel]:
    """Return two versions of a project, and another one that they need."""
    return (
        wheel("fx-main", "1.0", requires=["fx-leaf"]),
        wheel("fx-main", "2.0", requires=["fx-leaf>=1"]),
        wheel("fx-leaf", "1.5"),
    )
