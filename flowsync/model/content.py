"""Content units, their natural keys, and the ids of these.

A content type is a subclass of `Content` that names its natural key:

    class Wheel(Content):
        type_name = "example.wheel"
        natural_key = ("filename", "sha256")
        filename: str
        sha256: str

1. The id of a key is computed, never looked up: 128 bits of BLAKE3 over the canonical MessagePack
   of the type's name and the natural key. Two machines and two runs give the same key the same id,
   and equal keys of two types never meet. Which unit it is says `unit_id`.
2. Of two units with one natural key, or with one `repo_key`, a repository version holds the newer.
   An empty `repo_key` asks for nothing more.
3. Units with one `group_key` belong together: those of one project, of one image. A version is read
   by them, and keeps them together.
4. Keys are made of str, int, bytes, bool, None and tuples or lists of these.

Also here: the ids of units, and the digest of a set of them. The id and the digest follow from the
key, field by field.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Any, ClassVar, Final, NamedTuple, Protocol, TypeVar

import blake3
import msgspec

from flowsync.errors import DeclarationError
from flowsync.model.artifact import Artifact, StagedArtifact, StoredArtifact

C = TypeVar("C", bound="Content")

CONTENT_ID_SIZE = 16
"""Bytes in a content id."""

WHOLE_CONTENT: Final = ("*",)
"""The natural key of a type all of whose fields make a unit what it is."""

STRONG_DIGESTS: Final = ("sha256", "sha512", "sha384", "sha224")
"""Fields of these names in a natural key fix the bytes of a unit whose artifact is declared with
the same digest.
"""

UNENCODABLE: Final = (TypeError, ValueError, OverflowError, RecursionError)
"""What the encoders raise for values that have no form as bytes."""

_encode: Final = msgspec.msgpack.Encoder(order="deterministic").encode
_encode_sorted: Final = msgspec.json.Encoder(order="sorted").encode


class Content(msgspec.Struct):
    """The base of all content types. Subclasses add fields and name their natural key; instances
    are plain values.

    `natural_key` is a tuple of fields, or `WHOLE_CONTENT`. When fields beyond it change, or what is
    declared of the artifacts, the unit is another one: the next version gets it in place of the old
    one, and older versions keep theirs. `group_key` counts for units that are recorded from then on
    that the type has it.

    Of a type that is `told_by_key`, natural key and other fields alone make a unit what it is: its
    files follow from them, but for what differs each time that they are made, such as the time of
    a signature. The files that a unit was stored with first stay.
    """

    type_name: ClassVar[str] = ""
    natural_key: ClassVar[tuple[str, ...]] = ()
    repo_key: ClassVar[tuple[str, ...]] = ()
    group_key: ClassVar[tuple[str, ...]] = ()
    told_by_key: ClassVar[bool] = False


class Kind(NamedTuple):
    """What ids have to know of a content type. `fixing` are the digests of its key if the key can
    fix bytes and path of a unit.
    """

    name: str
    key: Callable[[Content], tuple[Any, ...]]
    repo_key: Callable[[Content], tuple[Any, ...]] | None
    group_key: Callable[[Content], tuple[Any, ...]] | None
    beyond: tuple[str, ...]
    fixing: tuple[str, ...]
    told_by_key: bool


def type_name(content_type: type[Content]) -> str:
    """Return the name that tags the type's ids: its `type_name`, or else module and class.

    A type that may move to another module names itself, or its units get other ids there. A
    subclass is another type and does not inherit the name.
    """
    own_name: str = vars(content_type).get("type_name", "")
    return own_name or f"{content_type.__module__}.{content_type.__qualname__}"


def key_id(content: Content) -> bytes:
    """Return the 16 bytes that stand for type and natural key.

    Raise `DeclarationError` when the type names no natural key, or a field that does not exist, or
    when a value of the key cannot be encoded.
    """
    kind = kind_of(type(content))
    try:
        return id_of([kind.name, *kind.key(content)])
    except (AttributeError, *UNENCODABLE) as error:
        raise _no_id(content, "natural_key", error) from error


def repo_key_id(content: Content) -> bytes | None:
    """Return 16 bytes that are equal for units which cannot coexist in one version; None when the
    type has no repository key.
    """
    kind = kind_of(type(content))
    if kind.repo_key is None:
        return None
    try:
        return id_of([kind.name, *kind.repo_key(content)])
    except (AttributeError, *UNENCODABLE) as error:
        raise _no_id(content, "repo_key", error) from error


def group_id(content: Content) -> bytes | None:
    """Return 16 bytes that are equal for the units of one group; None when the type has no group
    key.
    """
    kind = kind_of(type(content))
    if kind.group_key is None:
        return None
    try:
        return id_of([kind.name, "group", *kind.group_key(content)])
    except (AttributeError, *UNENCODABLE) as error:
        raise _no_id(content, "group_key", error) from error


def id_of_group(content_type: type[Content], group: Sequence[Any]) -> bytes:
    """Return what `group_id` gives for the units of a type whose group key has these values. Raise
    `DeclarationError` when these cannot be such values.
    """
    names = content_type.group_key
    if len(group) != len(names):
        raise DeclarationError(
            f"a group of {content_type.__qualname__} is told by {list(names)}, found {list(group)}"
        )
    try:
        return id_of([type_name(content_type), "group", *group])
    except UNENCODABLE as error:
        raise DeclarationError(
            f"cannot compute the id of a group of {content_type.__qualname__}: {error}"
        ) from error


def id_of(values: list[Any]) -> bytes:
    """Return the id of a list of values."""
    return blake3.blake3(_encode(values)).digest(length=CONTENT_ID_SIZE)


@lru_cache(maxsize=1000)
def kind_of(content_type: type[Content]) -> Kind:
    """Return what ids have to know of a type. Raise `DeclarationError` when it names no natural
    key.
    """
    names = _key_fields(content_type)
    if not names:
        raise DeclarationError(f"{content_type.__qualname__} names no natural_key")
    beyond = fields_beyond_key(content_type)
    is_placed = not beyond and "relative_path" in names
    return Kind(
        type_name(content_type),
        _getter(names),
        _getter(content_type.repo_key) if content_type.repo_key else None,
        _getter(content_type.group_key) if content_type.group_key else None,
        beyond,
        tuple(name for name in STRONG_DIGESTS if name in names) if is_placed else (),
        content_type.told_by_key,
    )


def fields_beyond_key(content_type: type[Content]) -> tuple[str, ...]:
    """Return the fields that the natural key does not determine."""
    names = _key_fields(content_type)
    return tuple(name for name in content_type.__struct_fields__ if name not in names)


def encode_fields(content: Content) -> bytes:
    """Return the unit's fields as a JSON object."""
    return msgspec.json.encode(content)


def encode_sorted(content: Content) -> bytes:
    """Return the unit's fields as a JSON object that is the same for equal units. Raise
    `DeclarationError` when a field cannot be encoded.
    """
    try:
        return _encode_sorted(content)
    except UNENCODABLE as error:
        raise DeclarationError(f"cannot encode {type(content).__qualname__}: {error}") from error


def decode_fields(content_type: type[C], fields: bytes) -> C:
    """Return the unit that `encode_fields` wrote; fields that the type gained since take their
    defaults.
    """
    return msgspec.json.decode(fields, type=content_type)


def _key_fields(content_type: type[Content]) -> tuple[str, ...]:
    names = content_type.natural_key
    return content_type.__struct_fields__ if names == WHOLE_CONTENT else names


def _getter(names: tuple[str, ...]) -> Callable[[Content], tuple[Any, ...]]:
    """Return what gives the values of the fields as a tuple, also of a single one."""
    if len(names) > 1:
        return attrgetter(*names)
    get = attrgetter(*names)
    return lambda content: (get(content),)


def _no_id(content: Content, which: str, error: Exception) -> DeclarationError:
    name = type(content).__qualname__
    if isinstance(error, AttributeError):
        return DeclarationError(f"{which} of {name} names {error.name!r}, which is no field")
    return DeclarationError(f"cannot compute the id of {which} of {name}: {error}")


# The ids of units: what makes a stored unit the same as a declared one.
#
# 1. A stored unit never changes. So its id covers all that is declared of it: natural key, other
#    fields, paths and digests. What is declared otherwise is another unit, and equal ids mean equal
#    content, in one catalog as on two machines.
# 2. Where the natural key fixes all of this, the id is that of the key. It does so if the type has
#    no other fields, the unit has one artifact, and the key has the artifact's path and its
#    strongest declared digest; or if the unit has no artifact at all.
# 3. What counts is what was declared, not what was found: an id does not depend on whether the
#    bytes are here. Only of an artifact without any digest the bytes count, if they came with the
#    sync, or else the size and the first URL: nothing else says that two upstreams have the same.
# 4. Of a type that is `told_by_key`, nothing of the artifacts counts.

_STRONGEST_FIRST: Final = ("sha256", "sha512", "sha384", "blake3", "sha224", "sha1", "md5")
"""The first of these that is declared stands for the bytes. The order must never change: ids follow
from it.
"""

_TAG: Final = b"unit"
"""Begins what is hashed for a unit. Bytes, because the name of a type, with which keys begin, is
text.
"""

_AT_HAND: Final = (StagedArtifact, StoredArtifact)


class Placed(Protocol):
    """An artifact at a path: as it was declared, as it is known by now, and where it comes from."""

    relative_path: str
    artifact: Artifact
    as_declared: Artifact
    urls: list[str]


def unit_id(key: bytes, content: Content, artifacts: Sequence[Placed]) -> bytes:
    """Return the 16-byte id of a unit, whose `key_id` is `key`, with these artifacts. Raise
    `DeclarationError` for a field that cannot be encoded.
    """
    kind = kind_of(type(content))
    if kind.told_by_key:
        artifacts = ()
    if _is_fixed(kind, content, artifacts):
        return key
    fields = encode_sorted(content) if kind.beyond else None
    return id_of([_TAG, key, fields, sorted(map(_proof, artifacts), key=_path_first)])


def _is_fixed(kind: Kind, content: Content, artifacts: Sequence[Placed]) -> bool:
    """Say whether the natural key fixes all that is declared."""
    if not kind.fixing:
        return not (artifacts or kind.beyond)
    try:
        (only,) = artifacts
    except ValueError:
        return False
    path: str = content.relative_path  # type: ignore[attr-defined]  # it is in the key
    if path != only.relative_path:
        return False
    sha256 = only.as_declared.sha256
    if sha256 is not None:
        # The first of the order, and what nearly all declare.
        return "sha256" in kind.fixing and sha256 == content.sha256  # type: ignore[attr-defined]
    algorithm, digest = _declared(only.as_declared)
    return algorithm in kind.fixing and digest == getattr(content, algorithm)


def _proof(placed: Placed) -> list[Any]:
    """Return what stands for an artifact: its path, and what there is to tell its bytes by."""
    algorithm, digest = _declared(placed.as_declared)
    if digest is None:
        if not isinstance(placed.artifact, _AT_HAND):
            return [placed.relative_path, "", placed.as_declared.size, placed.urls[0]]
        algorithm, digest = _declared(placed.artifact)
    return [placed.relative_path, algorithm, digest]


def _path_first(proof: list[Any]) -> list[str]:
    return list(map(str, proof))


def _declared(artifact: Artifact) -> tuple[str, str | None]:
    for algorithm in _STRONGEST_FIRST:
        digest: str | None = getattr(artifact, algorithm)
        if digest is not None:
            return algorithm, digest
    return "", None


# One digest for a set of units, which follows the set as it changes.
#
# 1. The state of a set is 1024 numbers of 16 bits. Each unit stands for 1024 such numbers of its
#    own, the first 2048 bytes of BLAKE3 (in its extendable form) over its id; those of a set are
#    the sums of its units', lane by lane, without carry. That is LtHash16-1024
#    (https://eprint.iacr.org/2019/227) over BLAKE3.
# 2. So the order of units does not matter, adding and removing one undo each other, and a change
#    costs what it changes, not the size of the set.
# 3. The root is BLAKE3 over the state, whose lanes are little-endian. Equal sets have equal roots
#    on every machine. The functions trust their caller that no unit is added twice, nor removed
#    where it is absent.
#
# The sums are taken in few large integers: all lanes at once, of which every other one is masked
# out into fields of 32 bits, where it has room for the carry of 65536 units; the sum of the others
# is what remains of the plain sum. That costs 7 to 9 µs a unit on a busy machine, of which BLAKE3
# has half.
#
# The reasons stand in docs/decisions/0005.

STATE_SIZE: Final = 2048
"""Bytes of a state."""

EMPTY_STATE: Final = bytes(STATE_SIZE)
"""The state of the empty set."""

_EVEN: Final = int.from_bytes(b"\xff\xff\0\0" * (STATE_SIZE // 4), "little")
"""Every other lane, from the first one on: the lower halves of fields of 32 bits."""

_CARRY: Final = int.from_bytes(b"\0\0\1\0" * (STATE_SIZE // 4), "little")
"""2¹⁶ in each field, from which a lane can be subtracted."""

_ROOM: Final = 1 << 15
"""Units that are summed up before the carries are dropped."""


def with_units(state: bytes, ids: Sequence[bytes]) -> bytes:
    """Return the state of a set after these units came into it."""
    even, odd = _fields(state)
    for start in range(0, len(ids), _ROOM):
        more_even, more_odd = _sums(ids[start : start + _ROOM])
        even, odd = (even + more_even) & _EVEN, (odd + more_odd) & _EVEN
    return _state(even, odd)


def without_units(state: bytes, ids: Sequence[bytes]) -> bytes:
    """Return the state of a set after these units went out of it."""
    even, odd = _fields(state)
    for start in range(0, len(ids), _ROOM):
        less_even, less_odd = _sums(ids[start : start + _ROOM])
        even = (even + _CARRY - (less_even & _EVEN)) & _EVEN
        odd = (odd + _CARRY - (less_odd & _EVEN)) & _EVEN
    return _state(even, odd)


def root_of(state: bytes) -> bytes:
    """Return the root of the set with this state: 32 bytes."""
    return blake3.blake3(state).digest()


def _sums(ids: Sequence[bytes]) -> tuple[int, int]:
    """Return the sums of the even and of the odd lanes of some units, in fields of 32 bits."""
    everything = even = 0
    for unit in ids:
        lanes = int.from_bytes(blake3.blake3(unit).digest(length=STATE_SIZE), "little")
        everything += lanes
        even += lanes & _EVEN
    return even, (everything - even) >> 16


def _fields(state: bytes) -> tuple[int, int]:
    lanes = int.from_bytes(state, "little")
    return lanes & _EVEN, (lanes >> 16) & _EVEN


def _state(even: int, odd: int) -> bytes:
    return (even | odd << 16).to_bytes(STATE_SIZE, "little")
