"""Artifacts: the bytes behind content, in the three states of their life.

`Artifact` is what is declared: a size and some digests, perhaps a local file. `StagedArtifact`
has its bytes at hand, verified, with every digest that is kept. `StoredArtifact` is recorded in the
catalog and its blob is durable. The state is the type (style, principle 5): a stage asks
`isinstance`, never a flag.
"""

import io
import re
from collections.abc import Mapping
from operator import attrgetter
from os import PathLike, fspath
from typing import BinaryIO, Final

import msgspec

from flowsync.errors import BlobMissingError, DeclarationError, StoreError, UnsupportedDigestError

# Digest algorithms: which are known, how long they are, which are allowed.
#
# The known ones are the six of the Stages API and BLAKE3, which names the blobs. A digest is a
# lower-case hexadecimal string. The allowed set is a value that the engine hands down, never a
# global: the default refuses md5 and sha1, as the original does.

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


_digests: Final = attrgetter(*HEX_LENGTHS)

LARGEST_SIZE: Final = (1 << 63) - 1
"""Bytes of an artifact: what the catalog and file systems can count."""


class Artifact(msgspec.Struct, frozen=True, kw_only=True):
    """A declared artifact: any subset of size (bytes), hexadecimal digests and the path of a local
    file that holds the bytes.

    A size of `None` means unknown; 0 is a size like any other. Raises `DeclarationError` for a size
    that is no whole number of bytes, a digest that is none, and a file that is no path.
    """

    size: int | None = None
    sha256: str | None = None
    sha512: str | None = None
    sha384: str | None = None
    sha224: str | None = None
    sha1: str | None = None
    md5: str | None = None
    blake3: str | None = None
    file: str | None = None

    def __post_init__(self) -> None:
        size: object = self.size
        file: object = self.file
        if size is not None:
            if type(size) is not int or size > LARGEST_SIZE:
                raise DeclarationError(
                    f"size of an artifact must be a whole number of bytes, found {size!r}"
                )
            if size < 0:
                raise DeclarationError(f"size of an artifact cannot be negative, found {size}")
        if file is not None and (not isinstance(file, (str, PathLike)) or "\0" in fspath(file)):
            raise DeclarationError(f"file of an artifact must be a path, found {file!r}")
        for algorithm, value in self.digests().items():
            check_hex(algorithm, value)

    def digests(self) -> dict[str, str]:
        """Return the known digests by algorithm, strongest look-up key first."""
        values = zip(HEX_LENGTHS, _digests(self), strict=True)
        return {algorithm: value for algorithm, value in values if value is not None}

    def open(self) -> BinaryIO:
        """Open the bytes for reading. Raise `DeclarationError` when they are not at hand (declared
        only, or on demand).
        """
        if self.file is None:
            raise DeclarationError("this artifact has no bytes at hand: it is only declared")
        return open(self.file, "rb")


class StagedArtifact(Artifact, frozen=True, kw_only=True, weakref=True):
    """An artifact whose verified bytes wait to be stored: small ones in `body`, others in `file`,
    below the run's staging folder.

    `size`, `sha256` and `blake3` are always set; the other digests are those that upstream
    declared.
    """

    body: bytes | None = None

    def __post_init__(self) -> None:
        """Digests come from our own hashing here; they are not checked again."""

    def open(self) -> BinaryIO:
        return super().open() if self.body is None else io.BytesIO(self.body)


def staged_artifact(
    size: int, digests: Mapping[str, str], *, file: str | None = None, body: bytes | None = None
) -> StagedArtifact:
    """Return the staged artifact of `size` bytes with the digests that were computed, by
    algorithm.
    """
    return StagedArtifact(
        size=size,
        sha256=digests["sha256"],
        sha512=digests.get("sha512"),
        sha384=digests.get("sha384"),
        sha224=digests.get("sha224"),
        sha1=digests.get("sha1"),
        md5=digests.get("md5"),
        blake3=digests["blake3"],
        file=file,
        body=body,
    )


class StoredArtifact(Artifact, frozen=True, kw_only=True, weakref=True):
    """An artifact that the catalog records under `id`. `file` is the path of its blob where the
    store has local files, or of a copy of it where a stage awaited its content.
    """

    id: int

    def __post_init__(self) -> None:
        """Digests come from the catalog here; they are not checked again."""

    def open(self) -> BinaryIO:
        """Open the stored bytes. Raise `BlobMissingError` when the store has lost them,
        `StoreError` when they cannot be read, and `DeclarationError` when the store has no local
        files and nothing awaited the content.
        """
        doing = f"cannot open the stored bytes of artifact {self.id}, sha256 {self.sha256}"
        if self.file is None:
            raise DeclarationError(
                f"{doing}: it has no bytes at hand, because the store has no local files; "
                "await resolution() of the content first, which brings them"
            )
        try:
            return super().open()
        except FileNotFoundError as error:
            raise BlobMissingError(
                f"{doing}: {self.file} is gone; `flowsync verify --repair` fetches it again"
            ) from error
        except OSError as error:
            raise StoreError(f"{doing}: {self.file}: {error.strerror}") from error
