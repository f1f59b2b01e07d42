"""The options of a kind of source: what the table `options` of a repository may hold, as the kind's
struct (`SourceKind.options`) says.

1. Errors name the option and what is allowed.
2. The code of a plugin's struct may raise anything: that makes the settings unusable, and no more.
3. A text of a command line is a TOML value if it can be read as one that fits the option, and
   otherwise text. For an option that is a list, a value that is none is an item of it, and the
   values of several texts are joined.

Also here: types in words, those in which the errors of options speak.
"""

import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import inspect
from msgspec.inspect import type_info

from flowsync.errors import SettingsError
from flowsync.kinds import SourceKind
from flowsync.model.recordable import problem_with_json
from flowsync.model.remote import Remote
from flowsync.pipeline.stage import Stage

# Types of msgspec in words for people who write a settings file. Pure.

_PLAIN: Final[dict[type[inspect.Type], str]] = {
    inspect.BoolType: "true or false",
    inspect.IntType: "integer",
    inspect.FloatType: "number",
    inspect.DecimalType: "number",
    inspect.StrType: "text",
    inspect.BytesType: "text in base64",
    inspect.DateTimeType: "date and time",
    inspect.DateType: "date",
    inspect.TimeType: "time",
    inspect.TimeDeltaType: "duration in ISO 8601",
    inspect.UUIDType: "UUID",
    inspect.StructType: "table",
    inspect.DataclassType: "table",
    inspect.TypedDictType: "table",
    inspect.NamedTupleType: "list",
}

_BOUNDS: Final = {
    "ge": "at least {}",
    "gt": "more than {}",
    "le": "at most {}",
    "lt": "less than {}",
    "multiple_of": "a multiple of {}",
    "min_length": "length at least {}",
    "max_length": "length at most {}",
    "pattern": "that matches {}",
}


def type_in_words(kind: inspect.Type) -> str:
    """Return what values of a type are, with their bounds: "integer, at least 1", "list of text".
    The absence of a value is left out, because a settings file cannot say it. A type that has a
    title (`msgspec.Meta(title="name")`) is called that, without its bounds.
    """
    title = _title(kind)
    if title is not None:
        return title
    bounds = {name: getattr(kind, name, None) for name in _BOUNDS}
    said = [_BOUNDS[name].format(bound) for name, bound in bounds.items() if bound is not None]
    return ", ".join([_unbounded(kind), *said])


def _title(kind: inspect.Type) -> str | None:
    if not isinstance(kind, inspect.Metadata):
        return None
    return (kind.extra_json_schema or {}).get("title")


def takes_items(kind: inspect.Type) -> bool:
    """Say whether a value of the type may be a list."""
    match kind:
        case inspect.Metadata():
            return takes_items(kind.type)
        case inspect.UnionType():
            return any(map(takes_items, kind.types))
    return isinstance(kind, inspect.CollectionType | inspect.TupleType)


def help_of(kind: inspect.Type) -> str:
    """Return the description that `msgspec.Meta` gives a type, empty without one."""
    match kind:
        case inspect.Metadata():
            return str((kind.extra_json_schema or {}).get("description") or help_of(kind.type))
        case inspect.UnionType():
            return next(filter(None, map(help_of, kind.types)), "")
    return ""


def _unbounded(kind: inspect.Type) -> str:
    match kind:
        case inspect.Metadata():
            words = type_in_words(kind.type)
        case inspect.UnionType():
            some = [each for each in kind.types if not isinstance(each, inspect.NoneType)]
            words = " or ".join(map(type_in_words, some))
        case inspect.LiteralType():
            words = _choice(kind.values)
        case inspect.EnumType():
            words = _choice(member.value for member in kind.cls)
        case inspect.CollectionType():
            words = f"list of {_item(kind.item_type)}"
        case inspect.TupleType():
            words = f"list: {', '.join(map(_item, kind.item_types))}"
        case inspect.DictType():
            words = f"table of {_item(kind.value_type)}"
        case _:
            words = _PLAIN.get(type(kind), "any value")
    return words


def _item(kind: inspect.Type) -> str:
    words = type_in_words(kind)
    return words if words.replace(" ", "").isalpha() and " or " not in words else f"({words})"


def _choice(values: Iterable[Any]) -> str:
    return " or ".join(map(repr, values))


class KindOption(msgspec.Struct, frozen=True, kw_only=True):
    """An option of a kind. `type` is in words, `default` as JSON has it."""

    name: str
    type: str
    required: bool
    default: Any = None
    help: str = ""


def options_of(kind: SourceKind) -> list[KindOption]:
    """Return the options of a kind, in the order of its struct."""
    return [_described(name, field) for name, field in _fields(kind).items()]


def check_kind(kind: SourceKind) -> None:
    """Raise `SettingsError` when the options of a kind cannot stand in a settings file."""
    try:
        options_of(kind)
    except Exception as error:
        raise SettingsError(
            f"source {kind.name!r}: its options are no struct of msgspec that can be described: "
            f"{_said(error)}"
        ) from error


def check_options(kind: SourceKind, given: Mapping[str, Any]) -> None:
    """Raise `SettingsError` when the kind has none of such a name, or one cannot be of its
    value.
    """
    fields = _fields(kind)
    for name, value in given.items():
        _convert(kind, fields, name, value)


def options_of_texts(kind: SourceKind, texts: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Return options that were given as texts, each name with one or more of them, as a settings
    file has them. Raise `SettingsError` as `check_options` does.
    """
    fields = _fields(kind)
    found = {}
    for name, given in texts.items():
        values, plain = [_toml_value(text) for text in given], list(given)
        if name not in fields or not takes_items(type_info(fields[name].type)):
            if len(given) > 1:
                raise SettingsError(f"option {name!r} of source {kind.name!r} is given twice")
            found[name] = _either(kind, fields, name, values[0], given[0])
        else:
            found[name] = _either(kind, fields, name, _joined(values), plain)
    return found


def _toml_value(text: str) -> object:
    """Return what a text says as a TOML value, or the text when it says nothing."""
    try:
        (value,) = tomllib.loads(f"value = {text}").values()
    except (tomllib.TOMLDecodeError, ValueError):
        return text
    return value


def _joined(values: Sequence[object]) -> list[object]:
    return [item for value in values for item in (value if isinstance(value, list) else [value])]


def _either(
    kind: SourceKind,
    fields: Mapping[str, msgspec.structs.FieldInfo],
    name: str,
    value: object,
    text: object,
) -> object:
    """Return the option of the TOML value, or of the plain text when only that fits."""
    try:
        return msgspec.to_builtins(_convert(kind, fields, name, value))
    except SettingsError:
        return msgspec.to_builtins(_convert(kind, fields, name, text, strict=False))


def read_options(kind: SourceKind, given: Mapping[str, Any]) -> msgspec.Struct | None:
    """Return the options of a sync, `None` for a kind that has none. Raise `SettingsError` when one
    is missing, and as `check_options` does.
    """
    check_options(kind, given)
    for name, field in _fields(kind).items():
        if field.required and name not in given:
            words = type_in_words(type_info(field.type))
            raise SettingsError(f"source {kind.name!r} needs the option {name!r} ({words})")
    if kind.options is None:
        return None
    try:
        return msgspec.convert(dict(given), kind.options, str_keys=True)
    except Exception as error:
        # Each option fits by itself, but not beside the others.
        raise SettingsError(f"options of source {kind.name!r}: {_said(error)}") from error


def with_paths(
    kind: SourceKind, given: Mapping[str, Any], resolved: Callable[[str], Path]
) -> dict[str, Any]:
    """Return options of a settings file in which paths are what `resolved` makes of them.

    An option is a path, or a list of paths, if its `Meta`, or that of the items, has the
    `extra_json_schema` `{"format": "path"}`; text of several lines is none, nor what `env:` begins.
    """
    fields = _fields(kind)

    def with_path(value: object) -> object:
        if isinstance(value, list):
            return [with_path(each) for each in value]
        if isinstance(value, str) and "\n" not in value and not value.startswith("env:"):
            return str(resolved(value))
        return value

    return {
        name: with_path(value)
        if name in fields and _format_of(type_info(fields[name].type)) == "path"
        else value
        for name, value in given.items()
    }


def _format_of(kind: inspect.Type) -> object:
    if isinstance(kind, inspect.Metadata):
        return (kind.extra_json_schema or {}).get("format") or _format_of(kind.type)
    if isinstance(kind, inspect.CollectionType):
        return _format_of(kind.item_type)
    return None


def first_stage(kind: SourceKind, remote: Remote, options: msgspec.Struct | None) -> Stage:
    """Return the first stage of a sync of a kind."""
    return kind.first_stage(remote) if options is None else kind.first_stage(remote, options)


def _fields(kind: SourceKind) -> dict[str, msgspec.structs.FieldInfo]:
    if kind.options is None:
        return {}
    return {field.encode_name: field for field in msgspec.structs.fields(kind.options)}


def _described(name: str, field: msgspec.structs.FieldInfo) -> KindOption:
    info, default = type_info(field.type), field.default
    if field.default_factory is not msgspec.NODEFAULT:
        default = field.default_factory()
    return KindOption(
        name=name,
        type=type_in_words(info),
        required=field.required,
        default=None if field.required else msgspec.to_builtins(default, order="deterministic"),
        help=help_of(info),
    )


def _convert(
    kind: SourceKind,
    fields: Mapping[str, msgspec.structs.FieldInfo],
    name: str,
    value: object,
    *,
    strict: bool = True,
) -> object:
    if name not in fields:
        raise SettingsError(f"source {kind.name!r} has no option {name!r}; it has {_all(fields)}")
    try:
        found = msgspec.convert(value, fields[name].type, strict=strict, str_keys=True)
    except Exception as error:
        words = type_in_words(type_info(fields[name].type))
        raise SettingsError(
            f"option {name!r} of source {kind.name!r} ({words}): {_said(error)}"
        ) from error
    # Without bounds NaN is a number, and options are remembered as JSON, which has none.
    problem = problem_with_json(found)
    if problem is not None:
        raise SettingsError(f"option {name!r} of source {kind.name!r} {problem}")
    return found


def _all(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"


def _said(error: Exception) -> str:
    return str(error.__cause__ or error) or repr(error)
