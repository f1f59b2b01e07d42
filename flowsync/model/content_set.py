"""One digest for a set of units, which follows the set as it changes.

1. The state of a set is 1024 numbers of 16 bits. Each unit stands for 1024 such numbers of its own,
   the first 2048 bytes of BLAKE3 (in its extendable form) over its id; those of a set are the sums
   of its units', lane by lane, without carry. That is LtHash16-1024
   (https://eprint.iacr.org/2019/227) over BLAKE3.
2. So the order of units does not matter, adding and removing one undo each other, and a change
   costs what it changes, not the size of the set.
3. The root is BLAKE3 over the state, whose lanes are little-endian. Equal sets have equal roots on
   every machine. The functions trust their caller that no unit is added twice, nor removed where it
   is absent.

The sums are taken in few large integers: all lanes at once, of which every other one is masked out
into fields of 32 bits, where it has room for the carry of 65536 units; the sum of the others is
what remains of the plain sum. That costs 7 to 9 µs a unit on a busy machine, of which BLAKE3 has
half (`bench/model/bench_content_set.py`).

Decisions: docs/decisions/0005.
"""

from collections.abc import Sequence
from typing import Final

import blake3

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
