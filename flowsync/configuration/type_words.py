"""Types of msgspec in words for people who write a settings file. Pure."""

from collections.abc import Iterable
from typing import Any, Final

from msgspec import inspect

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
    The absence of a value is left out, because a settings file cannot say it.
    """
    bounds = {name: getattr(kind, name, None) for name in _BOUNDS}
    said = [_BOUNDS[name].format(bound) for name, bound in bounds.items() if bound is not None]
    return ", ".join([_unbounded(kind), *said])


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
