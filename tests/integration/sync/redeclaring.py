"""Declarations drawn at random from few names, paths and bodies, so that they contradict each
other, and what a repository is to hold of them.
"""

import hashlib
from collections.abc import Sequence
from random import Random
from typing import Any, ClassVar

import msgspec

from flowsync import (
    WHOLE_CONTENT,
    Artifact,
    Content,
    DeclarativeArtifact,
    DeclarativeContent,
    Policy,
    Remote,
)
from flowsync.sources.file import FileContent

BODIES = [b"", b"one", b"two", b"three" * 1000]
NAMES = ["a", "b", "c"]
TEXTS = ["", "x", "y"]


class Note(Content):
    """Its key fixes nothing else."""

    type_name: ClassVar[str] = "random.note"
    natural_key: ClassVar[tuple[str, ...]] = ("name",)
    name: str
    text: str = ""


class Package(Content):
    """Of one name, a version has one; a version of the package may change, too."""

    type_name: ClassVar[str] = "random.package"
    natural_key: ClassVar[tuple[str, ...]] = ("name", "version")
    repo_key: ClassVar[tuple[str, ...]] = ("name",)
    name: str
    version: str
    text: str = ""


class Sealed(Content):
    """Its key has a digest, but not the path."""

    type_name: ClassVar[str] = "random.sealed"
    natural_key: ClassVar[tuple[str, ...]] = ("name", "sha256")
    name: str
    sha256: str


class Placed(Content):
    """Its key has path and digest, but a repository key has it not."""

    type_name: ClassVar[str] = "random.placed"
    natural_key: ClassVar[tuple[str, ...]] = ("relative_path", "sha512")
    relative_path: str
    sha512: str


class Whole(Content):
    """All of it is its key."""

    type_name: ClassVar[str] = "random.whole"
    natural_key: ClassVar[tuple[str, ...]] = WHOLE_CONTENT
    name: str
    text: str = ""


class File(msgspec.Struct, frozen=True):
    """An artifact to declare: where it belongs, its bytes, what is told of them, and where they
    are.
    """

    path: str
    body: bytes
    known: tuple[str, ...]
    url: str

    @property
    def has_digest(self) -> bool:
        """Whether a digest is declared that may vouch for the bytes."""
        return not {"sha256", "sha512"}.isdisjoint(self.known)


class Unit(msgspec.Struct, frozen=True):
    """A unit to declare."""

    content: Content
    files: tuple[File, ...]

    def proof(self, *, deferred: bool) -> object:
        """Return what makes it the unit that it is: equal for two declarations exactly if they
        declare the same.
        """
        kind = type(self.content)
        proofs = sorted(map(str, (_proof(file, deferred=deferred) for file in self.files)))
        return kind, msgspec.json.encode(self.content), tuple(proofs)

    @property
    def claims(self) -> frozenset[object]:
        """What no other unit of a version may have."""
        kind, fields = type(self.content), msgspec.structs.asdict(self.content)
        names = kind.__struct_fields__ if kind.natural_key == WHOLE_CONTENT else kind.natural_key
        key: set[object] = {(kind, *(fields[name] for name in names))}
        if kind.repo_key:
            key.add((kind, "repo", *(fields[name] for name in kind.repo_key)))
        return frozenset(key)


def digest(algorithm: str, body: bytes) -> str:
    return hashlib.new(algorithm, body).hexdigest()


def _proof(file: File, *, deferred: bool) -> tuple[object, ...]:
    for algorithm in ("sha256", "sha512"):
        if algorithm in file.known:
            return file.path, algorithm, digest(algorithm, file.body)
    if deferred:
        return file.path, "size" in file.known and len(file.body), file.url
    return file.path, "sha256", digest("sha256", file.body)


def draw_units(random: Random, repository: str) -> list[Unit]:
    """Draw what upstream lists now: mostly units that can be in one version together."""
    units: list[Unit] = []
    claimed: set[object] = set()
    for _ in range(random.randrange(1, 7)):
        unit = _draw_unit(random, repository)
        may_clash = not type(unit.content).repo_key and random.random() < 0.1
        if claimed.isdisjoint(unit.claims) or may_clash:
            units.append(unit)
            claimed |= unit.claims
    return units


def _draw_unit(random: Random, repository: str) -> Unit:
    kind = random.choice([FileContent, Note, Note, Package, Package, Sealed, Placed, Whole])
    name, body, text = random.choice(NAMES), random.choice(BODIES), random.choice(TEXTS)
    place = f"{kind.__name__}/{name}{random.choice(['', '', '-moved'])}"
    match kind.__name__:
        case "FileContent":
            content: Content = FileContent(place, digest("sha256", body))
        case "Note":
            content = Note(name, text)
        case "Package":
            content = Package(name, random.choice("12"), text)
        case "Sealed":
            content = Sealed(name, digest("sha256", body))
            place += content.sha256[:4]
        case "Placed":
            place += digest("sha512", body)[:4]
            content = Placed(place, digest("sha512", body))
            place += random.choice(["", "-moved"])
        case _:
            content = Whole(name, text)
            place += text
    files = [_draw_file(random, repository, place, body)]
    if kind in {Note, Package} and random.random() < 0.3:
        files.append(_draw_file(random, repository, f"{place}.more", random.choice(BODIES)))
    if kind in {Note, Whole} and random.random() < 0.2:
        files = []
    return Unit(content, tuple(files))


def _draw_file(random: Random, repository: str, path: str, body: bytes) -> File:
    strong = [("sha256", "size"), ("sha256",), ("sha512",), ("sha256", "sha512"), ("sha512", "md5")]
    known: tuple[str, ...] = random.choice([*strong, *strong, (), ("size",)])
    if known in {(), ("size",)}:
        # Whatever upstream has there at the time.
        return File(path, body, known, f"/{repository}/{path}")
    return File(path, body, known, f"/bodies/{digest('sha256', body)}")


def declare(unit: Unit, remote: Remote, root: str) -> DeclarativeContent:
    """Declare a unit whose bytes are below the URL `root`."""
    return DeclarativeContent(
        unit.content,
        [
            DeclarativeArtifact(
                Artifact(**_told(file)),
                url=root + file.url,
                relative_path=file.path,
                remote=remote,
                deferred_download=remote.deferred,
            )
            for file in unit.files
        ],
    )


def _told(file: File) -> dict[str, Any]:
    return {
        name: len(file.body) if name == "size" else digest(name, file.body) for name in file.known
    }


def after(
    before: Sequence[tuple[Unit, object]], units: Sequence[Unit], *, mirror: bool, policy: Policy
) -> list[tuple[Unit, object]] | None:
    """Return what a repository holds after a sync: units, each with its proof. `None` if two of the
    declared ones exclude each other.
    """
    declared = {unit.proof(deferred=policy != "immediate"): unit for unit in units}
    claims = [claim for unit in declared.values() for claim in unit.claims]
    if len(set(claims)) < len(claims):
        return None
    taken = set(claims)
    kept = [] if mirror else [each for each in before if taken.isdisjoint(each[0].claims)]
    return [*kept, *((unit, proof) for proof, unit in declared.items())]
