"""The digest of a set of units: against the definition, lane by lane, and against values that were
written out once.
"""

import struct
from collections.abc import Iterable

from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from flowsync.model.content import EMPTY_STATE, root_of, with_units, without_units

SETS = st.sets(st.binary(min_size=16, max_size=16), max_size=20)

ONE, TWO, THREE = b"\x01" * 16, b"\x02" * 16, b"\xff" * 16


def by_definition(ids: Iterable[bytes]) -> bytes:
    """Add up the lanes one by one."""
    lanes = [0] * 1024
    for unit in ids:
        more = struct.unpack("<1024H", blake3(unit).digest(length=2048))
        lanes = [(a + b) % 65536 for a, b in zip(lanes, more, strict=True)]
    return struct.pack("<1024H", *lanes)


def test_roots_are_what_they_were_on_the_first_day() -> None:
    """They are compared between machines and years: none of these may ever change."""
    roots = [root_of(with_units(EMPTY_STATE, ids)).hex() for ids in ([], [ONE], [ONE, TWO, THREE])]

    assert roots == [
        "be2a8de3dcf46c94ce85cdc8e07ac308f4d8a95490d956c38d780fd610db0813",
        "69851f4d3d917cc49693b702c8d659b3352fea7d627807e29545115062722335",
        "696a284182a68207226d3ef98ebbbb42b73658ed304fb1c54779ecc21fc2b68f",
    ]


@given(ids=SETS)
def test_state_is_the_sum_of_the_lanes(ids: set[bytes]) -> None:
    assert with_units(EMPTY_STATE, list(ids)) == by_definition(ids)


@given(ids=SETS, gone=SETS)
def test_what_came_and_went_leaves_no_trace(ids: set[bytes], gone: set[bytes]) -> None:
    state = with_units(EMPTY_STATE, list(ids))

    assert without_units(with_units(state, list(gone)), list(gone)) == state
    assert with_units(without_units(state, list(gone)), list(gone)) == state


def test_order_and_batches_do_not_matter() -> None:
    one_by_one = EMPTY_STATE
    for unit in (THREE, ONE, TWO):
        one_by_one = with_units(one_by_one, [unit])

    assert one_by_one == with_units(EMPTY_STATE, [ONE, TWO, THREE])
    assert one_by_one != with_units(EMPTY_STATE, [ONE, TWO])


def test_carries_stay_in_their_lane_however_many_units_there_are() -> None:
    """Of 70 000 equal units, more than a field has room for at once, each lane is 70 000 times that
    of one.
    """
    state = with_units(EMPTY_STATE, [ONE] * 70_000)

    lanes = struct.unpack("<1024H", blake3(ONE).digest(length=2048))
    assert state == struct.pack("<1024H", *(lane * 70_000 % 65536 for lane in lanes))
    assert without_units(state, [ONE] * 70_000) == EMPTY_STATE
