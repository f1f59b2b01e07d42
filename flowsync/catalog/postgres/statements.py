"""The SQL of the catalog: named statements, kept in the `.sql` files of the folder `statements`.

A file holds statements of one subject. Each begins with a line `-- name: find_artifacts`, goes on
with comment lines that say what it does, and ends with a semicolon. The names are unique across
files. Parameters are written `%(name)s`; where a measurement preferred one wire format, `%(name)b`
asks for binary and `%(name)t` for text.

Statements come out as bytes without their comments: short texts are what psycopg caches the
translation of.

Batches as columns: what `unnest` makes rows of.

A column of nothing but NULL is sent empty, because `unnest` fills short columns up: most upstreams
declare one digest of six, and the driver and the server handle every element of what is sent.
"""

import re
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.resources import files
from typing import Final, TypeVar

from flowsync.errors import CatalogError
from flowsync.model.artifact import Artifact

_NAME: Final = re.compile(r"^-- name: (\w+)$", re.MULTILINE)
_COMMENT: Final = re.compile(r"^\s*--.*$\n?", re.MULTILINE)


def statement(name: str) -> bytes:
    """Return the SQL of a named statement. Raise `CatalogError` when no file holds it."""
    try:
        return _load()[name]
    except KeyError:
        raise CatalogError(f"the catalog has no statement named {name!r}") from None


def statement_names() -> list[str]:
    """Return the names of all statements, sorted."""
    return sorted(_load())


def split_statements(source: str, text: str) -> dict[str, bytes]:
    """Return the statements of one file by name. Raise `CatalogError` when a name comes twice, or
    SQL before the first name.
    """
    head, *rest = _NAME.split(text)
    if _COMMENT.sub("", head).strip():
        raise CatalogError(f"{source}: SQL before the first '-- name:' line")
    found: dict[str, bytes] = {}
    for name, body in zip(rest[::2], rest[1::2], strict=True):
        if name in found:
            raise CatalogError(f"{source}: a second statement is named {name!r}")
        found[name] = _COMMENT.sub("", body).strip().removesuffix(";").encode()
    return found


@cache
def _load() -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for file in files("flowsync.catalog").joinpath("statements").iterdir():
        if file.name.endswith(".sql"):
            statements = split_statements(file.name, file.read_text(encoding="utf-8"))
            repeated = found.keys() & statements.keys()
            if repeated:
                raise CatalogError(f"{file.name}: {min(repeated)!r} is named in another file too")
            found |= statements
    return found


V = TypeVar("V")


def column(values: Iterable[V | None]) -> list[V | None]:
    """Return the values; none when all are `None`. At least one column of a batch must be whole."""
    found = list(values)
    return [] if found.count(None) == len(found) else found


def digest_columns(
    artifacts: Sequence[Artifact], algorithms: Iterable[str]
) -> dict[str, list[bytes | None]]:
    """Return the digests of a batch as bytes, a column an algorithm."""
    columns = {}
    for algorithm in algorithms:
        values = column(getattr(artifact, algorithm) for artifact in artifacts)
        columns[algorithm] = [None if value is None else bytes.fromhex(value) for value in values]
    return columns
