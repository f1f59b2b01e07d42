"""Why a path is in a version, or is not, out of what is recorded anyway: memberships, sources, and
what runs left out.

What a deleted version decided is told of the version that took its rows over. What upstream says of
a path now, nobody asks here.
"""

import re
from typing import Any, Final

import msgspec

from flowsync.catalog.postgres.database import Database
from flowsync.catalog.versions.lookup import find_version
from flowsync.model.reports import Explanation, LeftOutNote, Presence, Removal, SourceNote
from flowsync.model.repository import LeftOut
from flowsync.model.url import redact

_ID: Final = re.compile("[0-9a-f]{32}")


async def explain(
    database: Database, name: str, path: str, number: int | None = None
) -> Explanation:
    """Say why a version (default: the latest) has the path or lacks it. Raise as `find_version`
    does.

    In place of a path, the id of a unit without artifacts can be asked for, in hexadecimal.
    """
    repository_id, version = await find_version(database, name, number)
    params: dict[str, Any] = {"repository": repository_id, "number": version.number, "path": path}
    present = await database.fetch("explain_present", params)
    removed = await database.fetch_one("explain_removed", params)
    if not present and removed is None and _ID.fullmatch(path):
        asked = {"repository": repository_id, "number": version.number, "id": bytes.fromhex(path)}
        present = await database.fetch("explain_unit", asked)
        removed = await database.fetch_one("explain_unit_removed", asked)
    failed = await database.fetch_one("explain_left_out", params)
    return Explanation(
        repository=name,
        version=version.number,
        path=path,
        present=tuple(_presence(*row) for row in present),
        removal=None if removed is None else _removal(*removed),
        failure=None if failed is None else _failure(path, *failed),
    )


def _presence(  # noqa: PLR0917 - the columns of a row
    type_name: str,
    added: int,
    run: int | None,
    line: int | None,
    read: list[str],
    sha256: bytes | None,
    blake3: bytes | None,
    size: int | None,
    stored: bool,
    origins: list[list[str]],
    fields: str | None = None,
) -> Presence:
    return Presence(
        type=type_name,
        added=added,
        run=run,
        line=line,
        read=tuple(read),
        sha256=None if sha256 is None else sha256.hex(),
        blake3=None if blake3 is None else blake3.hex(),
        size=size,
        stored=stored,
        origins=tuple(
            SourceNote(remote=remote, url=redact(url), policy=policy)  # type: ignore[arg-type]  # checked by the table
            for remote, url, policy in origins
        ),
        fields=None if fields is None else msgspec.json.decode(fields),
    )


def _removal(version: int, run: int | None, read: list[str], rolled_back_to: int | None) -> Removal:
    return Removal(version=version, run=run, read=tuple(read), rolled_back_to=rolled_back_to)


def _failure(path: str, run: int, url: str, reason: str, action: str, since: int) -> LeftOutNote:
    left_out = LeftOut(relative_path=path, url=url, reason=reason, action=action)  # type: ignore[arg-type]  # as above
    return LeftOutNote(run=run, runs_since=since, left_out=left_out)
