"""An open engine, and content of one simple type."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from flowsync import (
    Artifact,
    Content,
    DeclarativeArtifact,
    DeclarativeContent,
    DeclarativeVersion,
    Engine,
    Remote,
    Repository,
    Stage,
)


class Thing(Content):
    type_name = "test.thing"
    natural_key = ("name",)

    name: str
    colour: str = "red"


class Given(Stage):
    """A first stage that puts what it was given."""

    def __init__(self, items: Sequence[DeclarativeContent]) -> None:
        self.given = items

    async def run(self) -> None:
        await self.put_all(list(self.given))


@pytest.fixture
async def engine(conninfo: str, tmp_path: Path) -> AsyncIterator[Engine]:
    async with Engine(tmp_path / "home", database_url=conninfo) as engine:
        yield engine


def declare(
    name: str,
    *artifacts: DeclarativeArtifact,
    colour: str = "red",
) -> DeclarativeContent:
    return DeclarativeContent(content=Thing(name=name, colour=colour), d_artifacts=list(artifacts))


def declare_artifact(
    remote: Remote | None,
    *urls: str,
    path: str,
    artifact: Artifact | None = None,
    **options: object,
) -> DeclarativeArtifact:
    return DeclarativeArtifact(
        artifact or Artifact(),
        urls=list(urls),
        relative_path=path,
        remote=remote,
        **options,  # type: ignore[arg-type]
    )


def sync(
    engine: Engine, items: Sequence[DeclarativeContent], *, name: str = "things", **options: object
) -> DeclarativeVersion:
    return DeclarativeVersion(Given(items), Repository(name=name), engine=engine, **options)  # type: ignore[arg-type]


def remote(name: str = "upstream") -> Remote:
    return Remote(name=name, url="http://localhost/", max_retries=0)
