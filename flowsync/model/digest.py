"""Digest algorithms: which are known, how long they are, which are allowed.

The known ones are the six of the Stages API and BLAKE3, which names the blobs. A
digest is a lower-case hexadecimal string. The allowed set is a value that the engine hands down,
never a global: the default refuses md5 and sha1, as the original does.
"""

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from flowsync.errors import DeclarationError, UnsupportedDigestError

HEX_LENGTHS: Final[dict[str, int]] = {
    "sha256": 64,
    "sha512": 128,
    "sha384": 96,
    "sha224": 56,
    "sha1": 40,
    "md5": 32,
    "blake3": 64,
}
"""Known algorithms with the length of their hexadecimal form, in the order in which a stored
artifact is looked up.
"""

DECLARABLE: Final = ("sha256", "sha512", "sha384", "sha224", "sha1", "md5")
"""Algorithms that upstreams declare."""

_HEX: Final = re.compile("[0-9a-f]+")


def check_hex(algorithm: str, value: object) -> None:
    """Raise `DeclarationError` unless `value` is a lower-case hexadecimal digest of the algorithm's
    length.
    """
    expected = HEX_LENGTHS[algorithm]
    if not isinstance(value, str) or len(value) != expected or not _HEX.fullmatch(value):
        raise DeclarationError(
            f"{algorithm} must be {expected} lower-case hexadecimal digits, found {value!r}"
        )


class DigestPolicy(msgspec.Struct, frozen=True):
    """Which digests may vouch for bytes. sha256 and BLAKE3 are always computed, whatever upstream
    declares.
    """

    allowed: frozenset[str] = frozenset({"sha224", "sha256", "sha384", "sha512", "blake3"})

    def __post_init__(self) -> None:
        unknown = self.allowed - HEX_LENGTHS.keys()
        if unknown:
            raise DeclarationError(f"unknown digest algorithms: {', '.join(sorted(unknown))}")
        if "sha256" not in self.allowed:
            raise DeclarationError("sha256 cannot be disallowed: every artifact has it")

    def refuses(self, digests: Mapping[str, str]) -> bool:
        """Say whether digests are declared and none of them is allowed."""
        return bool(digests) and self.allowed.isdisjoint(digests)

    def check_expected(self, source: str, digests: Mapping[str, str]) -> None:
        """Raise `UnsupportedDigestError` when digests are declared and none of them is allowed."""
        if self.refuses(digests):
            raise UnsupportedDigestError(
                f"{source}: only {', '.join(sorted(digests))} declared, "
                f"allowed are {', '.join(sorted(self.allowed))}"
            )
