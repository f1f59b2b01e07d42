"""Units of a type that is told by its key alone: what they were stored with first stays."""

from pathlib import Path

from flowsync import (
    Artifact,
    Content,
    DeclarativeArtifact,
    DeclarativeContent,
    DeclarativeVersion,
    Engine,
    Repository,
    Stage,
    export_version,
)


class Letter(Content):
    """A text that is signed anew each time."""

    type_name = "test.letter"
    natural_key = ("text",)
    repo_key = ("text",)
    told_by_key = True

    text: str


class Letters(Stage):
    """Declares one letter with these bytes."""

    def __init__(self, text: str, signed: bytes) -> None:
        self.text, self.signed = text, signed

    async def run(self) -> None:
        file = Path(self.context.staging, "letter")
        file.write_bytes(self.signed)
        artifact = DeclarativeArtifact(Artifact(file=str(file)), relative_path="letter")
        await self.put(DeclarativeContent(Letter(self.text), [artifact]))


async def sync(engine: Engine, text: str, signed: bytes, name: str = "letters") -> int | None:
    version = DeclarativeVersion(
        Letters(text, signed), Repository(name=name), mirror=True, engine=engine, max_removal=1.0
    )
    await version.acreate()
    assert version.result is not None
    return version.result.version


async def exported(engine: Engine, folder: Path, name: str, number: int) -> bytes:
    await export_version(engine, name, folder / f"{name}-{number}", number)
    return (folder / f"{name}-{number}" / "letter").read_bytes()


async def test_the_same_text_signed_anew_changes_no_version_and_makes_none(
    engine: Engine, tmp_path: Path
) -> None:
    first = await sync(engine, "one", b"one, signed at noon")
    again = await sync(engine, "one", b"one, signed at night")
    other = await sync(engine, "two", b"two, signed at night")
    elsewhere = await sync(engine, "one", b"one, signed next year", "copies")

    assert (first, again, other, elsewhere) == (1, None, 2, 1)
    assert await exported(engine, tmp_path, "letters", 1) == b"one, signed at noon"
    assert await exported(engine, tmp_path, "letters", 2) == b"two, signed at night"
    assert await exported(engine, tmp_path, "copies", 1) == b"one, signed at noon"


async def test_two_repositories_with_one_text_have_one_root(engine: Engine) -> None:
    await sync(engine, "one", b"one, signed at noon")
    await sync(engine, "one", b"one, signed at night", "copies")

    roots = {
        (await engine.catalog.repositories.version(name)).root for name in ("letters", "copies")
    }

    assert len(roots) == 1
