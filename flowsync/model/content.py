"""Content units and their computed identity.

A content type is a subclass of `Content` that names its natural key:

    class Wheel(Content):
        type_name = "example.wheel"
        natural_key = ("filename", "sha256")
        filename: str
        sha256: str

1. The id of a unit is computed, never looked up (design, ruling 6): 128 bits of BLAKE3 over the canonical MessagePack of the type's name
   and the natural key. Two machines and two runs give the same unit the same id, and equal keys of two types never meet.
2. `repo_key` names the fields in which two units of one repository version must differ; of two that agree, the newer replaces the
   older. Empty means that units of the type never collide.
3. Keys are made of str, int, bytes, bool, None and tuples or lists of these.
"""

from typing import Any, ClassVar, TypeVar

import blake3
import msgspec

from flowsync.model.errors import DeclarationError

C = TypeVar("C", bound="Content")

_encoder = msgspec.msgpack.Encoder(order="deterministic")

CONTENT_ID_SIZE = 16
"""Bytes in a content id."""


class Content(msgspec.Struct):
    """The base of all content types. Subclasses add fields and name their natural key; instances are plain values."""

    type_name: ClassVar[str] = ""
    natural_key: ClassVar[tuple[str, ...]] = ()
    repo_key: ClassVar[tuple[str, ...]] = ()


def type_name(content_type: type[Content]) -> str:
    """Return the name that tags the type's ids: its `type_name`, or else module and class.

    A type that may move to another module names itself, or its units get other ids there. A subclass is another type and does not inherit the name.
    """
    own_name: str = vars(content_type).get("type_name", "")
    return own_name or f"{content_type.__module__}.{content_type.__qualname__}"


def content_id(content: Content) -> bytes:
    """Return the 16-byte id of a unit. Raise `DeclarationError` when its type names no natural key, or a field that does not exist."""
    return _key_id(content, content.natural_key, "natural_key")


def repo_key_id(content: Content) -> bytes | None:
    """Return 16 bytes that are equal for units which cannot coexist in one version; None when the type has no repository key."""
    return _key_id(content, content.repo_key, "repo_key") if content.repo_key else None


def fields_beyond_key(content_type: type[Content]) -> tuple[str, ...]:
    """Return the fields that the natural key does not determine; a stored unit of a type without any equals every declared one."""
    return tuple(
        name for name in content_type.__struct_fields__ if name not in content_type.natural_key
    )


def encode_fields(content: Content) -> bytes:
    """Return the unit's fields as a JSON object."""
    return msgspec.json.encode(content)


def decode_fields(content_type: type[C], fields: bytes) -> C:
    """Return the unit that `encode_fields` wrote; fields that the type gained since take their defaults."""
    return msgspec.json.decode(fields, type=content_type)


def _key_id(content: Content, names: tuple[str, ...], which: str) -> bytes:
    kind = type(content)
    if not names:
        raise DeclarationError(f"{kind.__qualname__} names no {which}")
    try:
        values: list[Any] = [type_name(kind), *(getattr(content, name) for name in names)]
    except AttributeError as error:
        raise DeclarationError(
            f"{which} of {kind.__qualname__} names {error.name!r}, which is no field"
        ) from error
    return blake3.blake3(_encoder.encode(values)).digest(length=CONTENT_ID_SIZE)
