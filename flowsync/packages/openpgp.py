"""OpenPGP signatures (RFC 9580) by Sequoia: verifying those of an upstream, and making a mirror's
own. Bytes in, bytes out.

1. One valid signature by a certificate of the keyring is enough, whatever signatures are beside it.
   The keyring is given by the user; nothing that upstream sends is ever trusted.
2. Sequoia refuses weak digests and keys, revoked keys, and signatures that are expired or made in
   the future. It takes signatures by keys that have expired since: these are refused here.
3. Only what the signature covers is given back, and nothing may stand beside it: clients get the
   same bytes, and some of them would read what is not signed.
"""

import os
import re
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from flowsync.errors import MetadataError, SettingsError

try:
    import pysequoia
    from pysequoia import packet
except ImportError as error:  # pragma: no cover - told where a kind is used without its extra
    raise SettingsError(
        "signatures need pysequoia, which is not installed; install flowsync[packages]"
    ) from error

T = TypeVar("T")

_BEGIN: Final = b"-----BEGIN PGP SIGNED MESSAGE-----"
_SIGNATURE: Final = b"-----BEGIN PGP SIGNATURE-----"
_END: Final = b"-----END PGP SIGNATURE-----"
_ARMOR: Final = re.compile(
    rb"-----BEGIN PGP SIGNATURE-----.*?-----END PGP SIGNATURE-----[ \t]*\r?\n?", re.DOTALL
)
_MOST_SIGNATURES: Final = 64
_SHOWN: Final = 200


class Signed(msgspec.Struct, frozen=True, kw_only=True):
    """What a valid signature covers, and the fingerprint of the certificate that vouches for it, in
    upper-case hexadecimal.
    """

    text: bytes
    signer: str


class Keyring:
    """The certificates that may vouch for an upstream. Made by `read`."""

    def __init__(self, certificates: Sequence[pysequoia.Cert]) -> None:
        self._certificates = tuple(certificates)

    @classmethod
    def read(cls, source: str) -> "Keyring":
        """Return the certificates of a file, binary or armoured, or of armoured text.

        Raise `SettingsError` when there are none, or the file cannot be read.
        """
        if "-----BEGIN PGP" in source:
            where, data = "the keyring that was given as text", source.encode()
        else:
            where, data = f"keyring {source}", _content(source, "keyring")
        try:
            certificates = pysequoia.Cert.split_bytes(data)
        except RuntimeError as error:
            raise SettingsError(f"{where}: {_first_line(error)}") from None
        if not certificates:
            raise SettingsError(f"{where} holds no OpenPGP certificate")
        return cls(certificates)

    def verify_clearsigned(
        self, data: bytes, *, now: datetime, allow_expired: bool = False
    ) -> Signed:
        """Return what a text that is signed in the clear says.

        Raise `MetadataError` unless all of it is one signed text with a valid signature.
        """
        _check_frame(data)
        return self._verify(data, None, now, allow_expired)

    def verify_detached(
        self, data: bytes, signatures: bytes, *, now: datetime, allow_expired: bool = False
    ) -> Signed:
        """Return `data` with the signer when one of the signatures, armoured or binary, is valid.
        Raise `MetadataError` otherwise.
        """
        refused = MetadataError("it holds no signature")
        for signature in _signatures(signatures):
            try:
                return self._verify(data, signature, now, allow_expired)
            except MetadataError as error:
                refused = error
        raise refused

    def _verify(self, data: bytes, signature: Any, now: datetime, allow_expired: bool) -> Signed:
        asked: list[str] = []

        def known(ids: list[str]) -> list[pysequoia.Cert]:
            asked.extend(ids)
            return list(self._certificates)

        try:
            found = pysequoia.verify(bytes=data, store=known, signature=signature)
        except (RuntimeError, ValueError) as error:
            raise MetadataError(self._refusal(error, asked)) from None
        expired = None
        for valid in found.valid_sigs:
            signer = valid.certificate.upper()
            ended = self._ended(signer, now)
            if ended is None or allow_expired:
                return Signed(text=data if signature else bytes(found.bytes or b""), signer=signer)
            expired = f"the key {signer} expired on {ended:%Y-%m-%d}"
        raise MetadataError(expired or self._refusal(None, asked))

    def _ended(self, signer: str, now: datetime) -> datetime | None:
        """Return when a certificate expired; `None` while it has not."""
        for certificate in self._certificates:
            if certificate.fingerprint.upper() == signer:
                ends = certificate.expiration
                return ends if ends is not None and ends <= now else None
        return None

    def _refusal(self, error: Exception | None, asked: Sequence[str]) -> str:
        signers = ", ".join(sorted({each.upper() for each in asked})) or "no key that it names"
        said = "" if error is None else f": {_first_line(error)}"
        return f"no valid signature by a key of the keyring; it is signed by {signers}{said}"


class SigningKey:
    """A key that signs what a mirror makes. Its secret part is never shown."""

    def __init__(self, key: pysequoia.Tsk) -> None:
        self._key = key
        self._signer = key.signer()
        certificate = key.extract_certificate()
        self.public_key = str(certificate).encode()
        """The certificate, armoured."""
        self.fingerprint: str = certificate.fingerprint.upper()

    def __repr__(self) -> str:
        return f"SigningKey({self.fingerprint})"

    @classmethod
    def read(cls, setting: str) -> "SigningKey":
        """Return the key of a file, binary or armoured, of armoured text, or of the variable of the
        environment that `env:NAME` names.

        Raise `SettingsError`, which shows nothing of the key, when there is none.
        """
        if setting.startswith("env:"):
            name = setting.removeprefix("env:")
            value = os.environ.get(name)
            if not value:
                raise SettingsError(f"sign: the variable {name} of the environment is not set")
            where, data = f"the signing key in {name}", value.encode()
        elif "-----BEGIN PGP" in setting:
            where, data = "the signing key", setting.encode()
        else:
            where, data = f"the signing key {setting}", _content(setting, "signing key")
        try:
            return cls(pysequoia.Tsk.from_bytes(data))
        except RuntimeError as error:
            raise SettingsError(f"{where} cannot be used: {_first_line(error)}") from None

    def sign_clear(self, text: bytes) -> bytes:
        """Return a text signed in the clear."""
        mode = pysequoia.SignatureMode.CLEAR
        return _told(lambda: pysequoia.sign(self._signer, text, mode=mode))

    def sign_detached(self, text: bytes) -> bytes:
        """Return an armoured signature of a text."""
        mode = pysequoia.SignatureMode.DETACHED
        return _told(lambda: pysequoia.sign(self._signer, text, mode=mode))


def _check_frame(data: bytes) -> None:
    """Raise unless the bytes begin with a signed text, hold one, and end with its signature."""
    lines = [line.rstrip(b" \t\r") for line in data.split(b"\n")]
    if lines[0] != _BEGIN:
        raise MetadataError(
            "it must begin with a text that is signed in the clear, found "
            f"{lines[0][:_SHOWN].decode(errors='backslashreplace')!r}"
        )
    for mark, what in ((_BEGIN, "signed text"), (_SIGNATURE, "signature"), (_END, "end")):
        if lines.count(mark) != 1:
            raise MetadataError(f"it must hold one {what}, found {lines.count(mark)}")
    behind = b"\n".join(lines[lines.index(_END) + 1 :])
    if behind.strip():
        raise MetadataError("something stands behind the signature, which is not signed")
    if lines.index(_SIGNATURE) > lines.index(_END):
        raise MetadataError("its signature ends before it begins")


def _signatures(data: bytes) -> list[pysequoia.Sig]:
    """Return the single signatures of one or several blocks."""
    blocks = _ARMOR.findall(data) or [data]
    found: list[pysequoia.Sig] = []
    for block in blocks:
        try:
            pile = list(packet.PacketPile.from_bytes(block))
            found += [pysequoia.Sig.from_bytes(bytes(each)) for each in pile]
        except (RuntimeError, ValueError) as error:
            raise MetadataError(f"it is no signature: {_first_line(error)}") from None
    if len(found) > _MOST_SIGNATURES:
        raise MetadataError(f"it holds {len(found)} signatures, allowed are {_MOST_SIGNATURES}")
    return found


def _content(path: str, what: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:
        said = error.strerror if isinstance(error, OSError) else str(error)
        raise SettingsError(f"the {what} {path} cannot be read: {said}") from None


def _told(work: Callable[[], bytes]) -> bytes:
    try:
        return bytes(work())
    except RuntimeError as error:
        raise SettingsError(f"the signing key cannot sign: {_first_line(error)}") from None


def _first_line(error: Exception) -> str:
    # With a backtrace, where that is switched on.
    return str(error).partition("\n")[0][:_SHOWN].rstrip(".")
