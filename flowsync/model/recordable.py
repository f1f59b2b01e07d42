"""Whether a content unit can be recorded, and read again as it was. Pure.

1. Its fields fit their types: what is written is what is read.
2. They hold nothing that PostgreSQL's `jsonb` cannot: no NUL, no lone surrogate, no NaN or
   infinity, no nesting without bound.
3. Its key can be computed.

It is asked once a unit. Fields of short plain text are looked at as they are; for others, one
encoding and one decoding tell. What looks odd is looked at in full.

Also here: the paths of artifacts.
"""

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from math import isfinite
from typing import Any, Final
from unicodedata import category

import msgspec

from flowsync.errors import DeclarationError
from flowsync.errors.error_tree import REPLACEMENT
from flowsync.model.content import (
    Content,
    encode_fields,
    fields_beyond_key,
    key_id,
    repo_key_id,
    type_name,
)

# The paths at which artifacts belong to content: relative, and given back by file systems and URLs
# as they were. Pure.
#
# A path is valid Unicode of at most 2048 bytes without control characters. Its segments, between
# slashes, have at most 255 bytes; none is empty, `.` or `..`. So it neither leads out of the folder
# it is put in nor means the same as another path. Paths that nest (a file where another path needs
# a folder) are found by the catalog, which sees all of them.

LONGEST_PATH: Final = 2048
"""Bytes of a path. More would fit neither the catalog's indexes nor, below some folder, the
system's paths.
"""

LONGEST_SEGMENT: Final = 255
"""Bytes between two slashes: what file systems take as a name."""

_SEGMENT: Final = r"(?!\.{1,2}(?:/|\Z))[ -.0-~]{1,255}"
_PLAIN_PATH: Final = re.compile(rf"(?=.{{1,{LONGEST_PATH}}}\Z){_SEGMENT}(?:/{_SEGMENT})*")
"""Paths of printable ASCII that keep all rules: nearly all."""


def problem_with_path(path: object) -> str | None:
    """Return what keeps `path` from being the relative path of an artifact, such as "is absolute";
    None when nothing does.
    """
    # Asked for each artifact twice, so it takes few steps.
    if type(path) is str and _PLAIN_PATH.fullmatch(path):
        return None
    if not isinstance(path, str):
        return f"is no text but of type {type(path).__name__}"
    return _problem_with_signs(path) or _problem_with_segments(path) or _problem_with_length(path)


def shown_path(path: object) -> str:
    """Return the path as errors show it: escaped, and of a very long one the beginning."""
    shown = repr(path)
    return shown if len(shown) <= 300 else f"{shown[:300]}…"


def _problem_with_signs(path: str) -> str | None:
    if not path:
        return "is empty"
    if path.isprintable():
        return None
    found = {category(sign) for sign in path}
    if "Cc" in found:
        return "contains a control character"
    return "contains a lone surrogate, which no text may" if "Cs" in found else None


def _problem_with_segments(path: str) -> str | None:
    segments = path.split("/")
    if not segments[0]:
        return "is absolute"
    if ".." in segments:
        return "contains '..'"
    if "" in segments or "." in segments:
        return "contains an empty or '.' segment"
    return None


def _problem_with_length(path: str) -> str | None:
    encoded = path.encode()
    if len(encoded) > LONGEST_PATH:
        return f"is longer than {LONGEST_PATH} bytes"
    if max(map(len, encoded.split(b"/"))) > LONGEST_SEGMENT:
        return f"has a segment of more than {LONGEST_SEGMENT} bytes"
    return None


# Text that every part of flowsync can hold: the catalog's database takes neither NUL nor lone
# surrogates.


def problem_with_text(text: object) -> str | None:
    """Return what keeps `text` from being recorded, such as "holds a NUL"; None when
    nothing does.
    """
    if not isinstance(text, str):
        return f"is no text but of type {type(text).__name__}"
    if text.isascii():
        return "holds a NUL" if "\0" in text else None
    if "\0" in text:
        return "holds a NUL"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "holds a lone surrogate, which is no valid Unicode"
    return None


_UNRECORDABLE: Final = re.compile("[\x00\ud800-\udfff]")


def recordable(text: str) -> str:
    """Return the text with U+FFFD in place of what keeps it from being recorded."""
    return _UNRECORDABLE.sub(REPLACEMENT, text) if problem_with_text(text) is not None else text


def error_text(error: BaseException) -> str:
    """Return what an error says, fit to be recorded; its class where it says nothing, or where its
    own code fails.
    """
    try:
        said = str(error)
    except Exception:  # noqa: BLE001 - the class of a stranger
        said = ""
    return recordable(said) or type(error).__name__


def recordable_json(value: object) -> str:
    """Return the value as JSON that `jsonb` takes, its texts as `recordable` gives them."""
    try:
        encoded = msgspec.json.encode(value)
    except UnicodeEncodeError:
        encoded = b""
    if not encoded or b"\\u0000" in encoded:
        encoded = msgspec.json.encode(_recordable_value(msgspec.to_builtins(value)))
    return encoded.decode()


def _recordable_value(value: Any) -> Any:
    if isinstance(value, dict):
        return {_recordable_value(name): _recordable_value(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_recordable_value(part) for part in value]
    return recordable(value) if isinstance(value, str) else value


DEEPEST: Final = 200
"""Levels of nesting in a unit's fields: far below where the libraries and the database give up."""

LARGEST: Final = 64 << 20
"""Bytes of a unit's fields as JSON. The database takes 256 MiB in one text, and a batch has many
units.
"""

_PLAIN: Final = frozenset({str, bytes, bool, type(None)})
_PLAIN_TEXT: Final = re.compile(r"[\x01-\x7f]{0,65536}")
_UNENCODABLE: Final = (TypeError, ValueError, OverflowError, RecursionError)


class _Form(msgspec.Struct, frozen=True):
    """What is known of a content type. `plain` ones have fields of text, bytes and truth values
    only: any key of theirs can be computed. `texts` says that all
    fields are text.
    """

    problem: str | None
    plain: bool
    decode: Callable[[bytes], Any] | None
    texts: bool = False


def problem_with_content(content: Any) -> str | None:
    """Return what keeps a unit from being recorded, naming the field where that is known; None when
    nothing does.
    """
    form = _form(type(content))  # type: ignore[arg-type]  # classes can be hashed
    try:
        # Nearly all units hold plain text. Where a field is none, the joining fails.
        plain = form.texts and _PLAIN_TEXT.fullmatch("".join(msgspec.structs.astuple(content)))
    except TypeError:
        plain = None
    if plain or form.problem is not None:
        return form.problem
    try:
        encoded = encode_fields(content)
    except _UNENCODABLE as error:
        return _unencodable(content, error)
    if not form.plain or b"\\u0000" in encoded or len(encoded) > LARGEST:
        problem = _problem_in_full(content, encoded)
        if problem is not None:
            return problem
    if form.decode is not None:
        try:
            form.decode(encoded)
        except (ValueError, RecursionError) as error:
            return f"its fields do not fit their types: {error}"
    return None


def problem_with_json(value: object) -> str | None:
    """Return what keeps a value from being kept as `jsonb`, such as "holds a NUL"; None when
    nothing does.
    """
    try:
        msgspec.json.encode(value)
        return _problem_with_value(value)
    except _UNENCODABLE as error:
        return f"cannot be recorded: {_said(error)}"


def _problem_in_full(content: Content, encoded: bytes) -> str | None:
    if len(encoded) > LARGEST:
        return f"its fields take {len(encoded)} bytes, more than {LARGEST}"
    problem = _problem_with_key(content)
    # Only these can hide something: a NUL, a number that JSON does not have, or many levels.
    odd = b"\\u0000" in encoded or b"null" in encoded or _brackets(encoded) > DEEPEST
    if problem is not None or not odd:
        return problem
    for name, value in msgspec.structs.asdict(content).items():
        problem = _problem_with_value(value)
        if problem is not None:
            return f"its field {name!r} {problem}"
    return None


def _problem_with_key(content: Content) -> str | None:
    try:
        key_id(content)
        repo_key_id(content)
    except DeclarationError as error:
        return str(error)
    except _UNENCODABLE as error:
        return f"its key cannot be computed: {error}"
    return None


def _problem_with_value(value: object) -> str | None:
    level, depth = [msgspec.to_builtins(value)], 0
    while level:
        depth += 1
        if depth > DEEPEST:
            return f"is nested deeper than {DEEPEST} levels"
        for part in level:
            if isinstance(part, float) and not isfinite(part):
                return f"holds {part}, which JSON does not have"
            if isinstance(part, str) and (problem := problem_with_text(part)) is not None:
                return problem
        level = [below for part in level for below in _parts(part)]
    return None


def _parts(value: object) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from value.keys()
        yield from value.values()
    elif isinstance(value, list | tuple | set | frozenset):
        yield from value


def _brackets(encoded: bytes) -> int:
    return encoded.count(b"[") + encoded.count(b"{")


def _unencodable(content: Content, error: Exception) -> str:
    for name, value in msgspec.structs.asdict(content).items():
        try:
            msgspec.json.encode(value)
        except _UNENCODABLE as found:
            return f"its field {name!r} cannot be recorded: {_said(found)}"
    return f"its fields cannot be recorded: {_said(error)}"


def _said(error: Exception) -> str:
    if isinstance(error, UnicodeEncodeError):
        return "it holds a lone surrogate, which is no valid Unicode"
    return "it is nested too deep" if isinstance(error, RecursionError) else str(error)


@lru_cache(maxsize=256)
def _form(kind: type[Any]) -> _Form:
    if not issubclass(kind, Content):
        return _Form(f"its content is of type {kind.__name__}, not a Content", False, None)
    problem = problem_with_text(type_name(kind))
    if problem is not None:
        return _Form(f"the name of its type {problem}", False, None)
    try:
        plain = all(field.type in _PLAIN for field in msgspec.structs.fields(kind))
        decode: Callable[[bytes], Any] | None = msgspec.json.Decoder(kind).decode
    except (TypeError, NameError, ValueError) as error:
        if fields_beyond_key(kind):
            found = f"fields of its type {kind.__qualname__} cannot be read again: {error}"
            return _Form(found, False, None)
        plain, decode = False, None
    texts = plain and all(field.type is str for field in msgspec.structs.fields(kind))
    return _Form(None, plain, decode, texts)
