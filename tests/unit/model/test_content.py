import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import blake3
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowsync.errors import DeclarationError
from flowsync.model.content import (
    CONTENT_ID_SIZE,
    WHOLE_CONTENT,
    Content,
    decode_fields,
    encode_fields,
    fields_beyond_key,
    key_id,
    repo_key_id,
    type_name,
)

REPOSITORY = Path(__file__).parents[3]


class Wheel(Content):
    type_name = "example.wheel"
    natural_key = ("filename", "sha256")
    repo_key = ("filename",)

    filename: str
    sha256: str
    requires: tuple[str, ...] = ()


class Egg(Content):
    type_name = "example.egg"
    natural_key = ("filename", "sha256")
    repo_key = ("filename",)

    filename: str
    sha256: str


class Anything(Content):
    type_name = "example.anything"
    natural_key = ("value",)

    value: Any


class Keyless(Content):
    name: str


class Mistaken(Content):
    natural_key = ("name", "version")

    name: str


def test_id_is_the_blake3_of_type_and_natural_key() -> None:
    """Written out, because ids are kept in databases: they must never change."""
    # A MessagePack array of three short strings.
    packed = b"\x93" + b"\xad" + b"example.wheel" + b"\xa5" + b"a.whl" + b"\xa2" + b"ff"

    found = key_id(Wheel(filename="a.whl", sha256="ff"))

    assert found == blake3.blake3(packed).digest(length=16)
    assert found.hex() == "d34301af8a18f8788bfaf291fa953500"
    assert len(found) == CONTENT_ID_SIZE


def test_another_process_gives_the_same_id() -> None:
    program = (
        "from tests.unit.model.test_content import Wheel, key_id;"
        "print(key_id(Wheel(filename='ä.whl', sha256='ff')).hex())"
    )

    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=REPOSITORY
    )

    assert run.stdout.strip() == key_id(Wheel(filename="ä.whl", sha256="ff")).hex()


def test_what_is_not_in_the_key_does_not_change_the_id() -> None:
    plain = Wheel(filename="a.whl", sha256="ff")

    assert key_id(Wheel(filename="a.whl", sha256="ff", requires=("b",))) == key_id(plain)
    assert key_id(Wheel(filename="b.whl", sha256="ff")) != key_id(plain)


def test_whole_content_as_key_has_every_field() -> None:
    class Whole(Content):
        type_name: ClassVar[str] = "example.whole"
        natural_key: ClassVar[tuple[str, ...]] = WHOLE_CONTENT
        name: str
        requires: tuple[str, ...] = ()

    assert fields_beyond_key(Whole) == ()
    assert key_id(Whole("a", ("b",))) == key_id(Whole("a", ("b",)))
    assert key_id(Whole("a", ("b",))) != key_id(Whole("a"))


@pytest.mark.parametrize("value", [object(), 2**64, {1: object()}])
def test_key_that_has_no_form_as_bytes_is_refused(value: Any) -> None:
    with pytest.raises(DeclarationError, match="id of natural_key of Anything"):
        key_id(Anything(value))


def test_equal_keys_of_two_types_never_meet() -> None:
    """They could be mixed up."""
    wheel, egg = Wheel(filename="a", sha256="ff"), Egg(filename="a", sha256="ff")

    assert key_id(wheel) != key_id(egg)
    assert repo_key_id(wheel) != repo_key_id(egg)


KEYS: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.text(), st.binary()),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)


def typed(key: Any) -> Any:
    """Return the key with its types: to Python, True and 1 are equal."""
    return [typed(part) for part in key] if isinstance(key, list) else (type(key), key)


@given(one=KEYS, other=KEYS)
def test_ids_are_equal_exactly_when_the_keys_are(one: Any, other: Any) -> None:
    equal = typed(one) == typed(other)

    assert (key_id(Anything(one)) == key_id(Anything(other))) is equal


def test_field_boundaries_are_part_of_the_key() -> None:
    assert key_id(Wheel(filename="ab", sha256="c")) != key_id(Wheel(filename="a", sha256="bc"))


def test_type_without_natural_key_is_refused_by_name() -> None:
    with pytest.raises(DeclarationError, match="Keyless names no natural_key"):
        key_id(Keyless(name="a"))


def test_key_that_names_no_field_is_refused_by_name() -> None:
    with pytest.raises(
        DeclarationError, match="natural_key of Mistaken names 'version', which is no field"
    ):
        key_id(Mistaken(name="a"))


def test_units_that_cannot_coexist_have_the_same_repository_key() -> None:
    old, new = Wheel(filename="a.whl", sha256="00"), Wheel(filename="a.whl", sha256="ff")

    assert key_id(old) != key_id(new)
    assert repo_key_id(old) == repo_key_id(new)
    assert repo_key_id(old) != repo_key_id(Wheel(filename="b.whl", sha256="00"))


def test_units_of_a_type_without_repository_key_never_collide() -> None:
    assert repo_key_id(Anything(1)) is None


def test_type_is_named_by_itself_or_by_module_and_class() -> None:
    class Named(Content):
        type_name: ClassVar[str] = "own.name"

    assert type_name(Named) == "own.name"
    assert type_name(Keyless) == "tests.unit.model.test_content.Keyless"


def test_equal_classes_of_two_modules_of_a_package_have_ids_of_their_own() -> None:
    """Symptom: two classes `Package` of one plugin shared their ids."""
    deb = type("Package", (Wheel,), {"__module__": "plugin.deb"})
    rpm = type("Package", (Wheel,), {"__module__": "plugin.rpm"})

    assert key_id(deb(filename="a", sha256="00")) != key_id(rpm(filename="a", sha256="00"))


def test_fields_beyond_the_key_are_known() -> None:
    assert fields_beyond_key(Wheel) == ("requires",)
    assert fields_beyond_key(Egg) == ()


def test_fields_survive_the_catalog() -> None:
    wheel = Wheel(filename="ä.whl", sha256="ff", requires=("b>1",))

    stored = encode_fields(wheel)

    assert stored == '{"filename":"ä.whl","sha256":"ff","requires":["b>1"]}'.encode()
    assert decode_fields(Wheel, stored) == wheel


def test_field_that_a_type_gained_since_takes_its_default() -> None:
    assert decode_fields(Wheel, b'{"filename":"a","sha256":"ff"}') == Wheel(
        filename="a", sha256="ff", requires=()
    )
