"""Any legal path, written into a manifest and served over HTTP or read from disk, comes out of an
export byte for byte.
"""

import hashlib
import itertools
from collections.abc import Mapping
from pathlib import Path

import uvloop
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from flowsync import DeclarativeVersion, Engine, Remote, Repository, export_version
from flowsync.sources.file import FileFirstStage
from tests.upstream.server import Upstream

MARKER = ".flowsync-export.json"

segments = st.text(
    st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="/"), min_size=1, max_size=30
).filter(lambda segment: segment not in {".", ".."} and len(segment.encode()) <= 255)

# A line that begins with # is a comment, whatever its author meant; the other two are taken in the
# folders of this test.
paths = (
    st.lists(segments, min_size=1, max_size=4)
    .map("/".join)
    .filter(lambda path: not path.startswith(("#", "PULP_MANIFEST", MARKER)))
)

bodies = st.binary(max_size=50)


def without_nesting(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Leave out the paths that are a folder of another path."""
    return {
        path: body
        for path, body in files.items()
        if not any(other.startswith(f"{path}/") for other in files)
    }


trees = st.dictionaries(paths, bodies, min_size=1, max_size=8).map(without_nesting)

numbers = itertools.count()


@given(trees)
@example({" leading": b"1", "trailing ": b"2", "a,b,,": b"3", " #no comment": b"", "50%25": b"4"})
@example({"q?x=1&y=2#z;w": b"1", "a:b": b"2", "~tilde": b"3", "back\\slash": b"4", "a+b c": b"5"})
@example({"\u2028": b"1", "e\u0301": b"2", "\u00e9": b"3", "🙂/\ufffe/\U0010ffff": b"4", "…": b"5"})
@settings(
    max_examples=20,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_what_is_published_under_any_legal_path_is_exported_byte_for_byte(
    tmp_path: Path, conninfo: str, upstream: Upstream, files: dict[str, bytes]
) -> None:
    here = tmp_path / f"{next(numbers)} é 100%"
    folder = write(here / "up?stream#1", files)

    exported = uvloop.run(
        sync_and_export(
            Engine(tmp_path / "home", database_url=conninfo),
            {
                "http": upstream.serve(folder) + "PULP_MANIFEST",
                "file": (folder / "PULP_MANIFEST").as_uri(),
                "raw": f"file://{folder}/",
            },
            here,
        )
    )

    assert exported == {"http": files, "file": files, "raw": files}


def write(folder: Path, files: Mapping[str, bytes]) -> Path:
    lines = []
    for path, body in files.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(body)
        lines.append(f"{path},{hashlib.sha256(body).hexdigest()},{len(body)}\n")
    (folder / "PULP_MANIFEST").write_bytes("".join(lines).encode())
    return folder


async def sync_and_export(
    engine: Engine, urls: Mapping[str, str], target: Path
) -> dict[str, dict[str, bytes]]:
    exported = {}
    async with engine:
        for name, url in urls.items():
            stage = FileFirstStage(Remote(name=name, url=url))
            await DeclarativeVersion(
                stage, Repository(name=name), mirror=True, engine=engine
            ).acreate()
            await export_version(engine, name, target / name)
            exported[name] = read(target / name)
    return exported


def read(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != MARKER
    }
