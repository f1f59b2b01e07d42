"""Takes declarations apart and puts them together again; what both sides of a crossing share.

Content of any class crosses that another process can find by its name and that msgspec can encode.
In `extra_data`, what is no JSON-like value arrives as msgspec sees it: a tuple as a list, a struct
as a dict; on the way back what did not change stays as it was.
"""

import sys
from collections.abc import Mapping, Sequence
from functools import lru_cache, reduce
from importlib import import_module
from types import ModuleType
from typing import Any

import msgspec

from flowsync.declare import DeclarativeArtifact, DeclarativeContent, Source
from flowsync.errors import CannotCrossError
from flowsync.model.artifact import Artifact
from flowsync.model.content import Content
from flowsync.model.remote import Remote
from flowsync.stages.remote.declared_messages import WireDeclared, WireRemote, WireSource, WireUnit

# Names of classes by which another process finds them: `module:qualified.name`.
#
# Classes of the caller's main script have no such name: workers do not run it
# (`flowsync.runtime.spawning`). What can do without a worker asks `is_at_home` first;
# `reference` refuses them.


def is_at_home(kind: type) -> bool:
    """Say whether a class is of the main script, which no other process knows."""
    return kind.__module__ == "__main__"


@lru_cache(maxsize=256)
def reference(kind: type) -> str:
    """Return the name of a class. Raise `CannotCrossError` when the name does not lead back
    to it.
    """
    name = f"{kind.__module__}:{kind.__qualname__}"
    if is_at_home(kind):
        raise CannotCrossError(
            f"{kind.__qualname__} cannot be sent to worker processes: it is defined in the "
            "main script, "
            "which they do not run; define it in a module of its own"
        )
    module = sys.modules.get(kind.__module__)
    try:
        found = None if module is None else _find(module, kind.__qualname__)
    except AttributeError:
        found = None
    if found is not kind:
        raise CannotCrossError(
            f"{name} cannot be sent to worker processes: they would not find it by this name; "
            "define it at the top of a module"
        )
    return name


@lru_cache(maxsize=256)
def referred(name: str) -> type:
    """Return the class of that name, importing its module. Raise what importing raises."""
    module, _, qualified = name.partition(":")
    return _find(import_module(module), qualified)


def _find(module: ModuleType, qualified: str) -> type:
    found: type = reduce(getattr, qualified.split("."), module)  # type: ignore[assignment]
    return found


Numbers = Mapping[int, int]
"""Numbers of remotes by their `id()`; its holder keeps the remotes alive."""

Remotes = Mapping[int, Remote]
"""Remotes by their number."""

_encode = msgspec.msgpack.Encoder().encode
_NOTHING = _encode({})
_UNENCODABLE = (TypeError, ValueError, OverflowError, RecursionError)


def pack_unit(item: DeclarativeContent) -> WireUnit:
    """Return what an item is, without its artifacts. Raise `CannotCrossError`."""
    content = item.content
    name = reference(type(content))
    try:
        fields = _encode(content)
    except _UNENCODABLE as error:
        raise _cannot_cross(name, msgspec.structs.asdict(content), error) from error
    return WireUnit(name, fields, _pack_extra(item), item.saved, item.known_links)


def unpack_content(unit: WireUnit) -> Content:
    """Return the content of a unit. Raise `CannotCrossError` when its fields do not fit their
    types.
    """
    kind = referred(unit.type)
    try:
        content: Content = msgspec.msgpack.decode(unit.fields, type=kind)
    except (TypeError, ValueError) as error:
        raise CannotCrossError(f"{unit.type} cannot be read by another process: {error}") from error
    return content


def pack_declared(declared: DeclarativeArtifact, numbers: Numbers) -> WireDeclared:
    """Return where an artifact comes from and belongs. Raise `CannotCrossError`."""
    return WireDeclared(
        declared.urls,
        declared.relative_path,
        _number(declared.remote, numbers),
        _pack_extra(declared),
        declared.deferred_download,
        [
            WireSource(_number(source.remote, numbers), source.urls)
            for source in declared.alternates
        ],
    )


def unpack_declared(
    wire: WireDeclared, artifact: Artifact, remotes: Remotes
) -> DeclarativeArtifact:
    """Return a new declaration of `artifact`."""
    declared = DeclarativeArtifact(
        artifact,
        urls=wire.urls,
        relative_path=wire.relative_path,
        remote=_remote(wire.remote, remotes),
        extra_data=unpack_extra(wire.extra_data),
        deferred_download=wire.deferred,
    )
    if wire.alternates:
        declared.alternates = _sources(wire, remotes)
    return declared


def apply_declared(wire: WireDeclared, declared: DeclarativeArtifact, remotes: Remotes) -> None:
    """Write into a declaration what changed."""
    declared.urls = wire.urls
    declared.relative_path = wire.relative_path
    declared.remote = _remote(wire.remote, remotes)
    declared.extra_data = unpack_extra(wire.extra_data)
    declared.deferred_download = wire.deferred
    declared.alternates = _sources(wire, remotes)


def pack_remote(number: int, remote: Remote, concurrency: int | None) -> WireRemote:
    """Return a remote with all its settings, secrets too: it is for our own processes only.
    `concurrency` takes the place of its own.
    """
    sent = msgspec.structs.replace(remote, download_concurrency=concurrency, _fetcher=None)
    return WireRemote(number, reference(type(remote)), _encode(sent))


def unpack_remote(wire: WireRemote) -> Remote:
    """Return the remote, bound to nothing."""
    remote: Remote = msgspec.msgpack.decode(wire.fields, type=referred(wire.type))
    return remote


def remotes_of(items: Sequence[DeclarativeContent]) -> dict[int, Remote]:
    """Return the distinct remotes that items name, by their `id()`."""
    found: dict[int, Remote] = {}
    for item in items:
        for declared in item.d_artifacts:
            for remote in (declared.remote, *(source.remote for source in declared.alternates)):
                if remote is not None:
                    found[id(remote)] = remote
    return found


def unpack_extra(extra_data: bytes) -> dict[str, Any]:
    """Return a dict of one's own."""
    return {} if extra_data == _NOTHING else msgspec.msgpack.decode(extra_data, type=dict[str, Any])


def _pack_extra(owner: DeclarativeContent | DeclarativeArtifact) -> bytes:
    extra_data = owner.extra_data
    try:
        return _encode(extra_data) if extra_data else _NOTHING
    except _UNENCODABLE as error:
        raise _cannot_cross(f"extra_data of {owner!r}", extra_data, error) from error


def _cannot_cross(what: str, fields: Mapping[str, Any], error: Exception) -> CannotCrossError:
    for name, value in fields.items():
        try:
            _encode(value)
        except _UNENCODABLE as found:
            return CannotCrossError(f"{what} cannot be sent to worker processes: {name!r}: {found}")
    return CannotCrossError(f"{what} cannot be sent to worker processes: {error}")


def _number(remote: Remote | None, numbers: Numbers) -> int | None:
    return None if remote is None else numbers[id(remote)]


def _remote(number: int | None, remotes: Remotes) -> Remote | None:
    return None if number is None else remotes[number]


def _sources(wire: WireDeclared, remotes: Remotes) -> list[Source]:
    return [Source(_remote(source.remote, remotes), source.urls) for source in wire.alternates]
