"""OpenPGP signatures (RFC 9580) by Sequoia: verifying those of an upstream, and making a mirror's
own. Bytes in, bytes out.

1. One valid signature by a certificate of the keyring is enough, whatever signatures are beside it.
   The keyring is given by the user; nothing that upstream sends is ever trusted.
2. Sequoia refuses weak digests and keys, and signatures that are expired or made in the future. It
   judges keys as of the moment of the signature, so that keys which are expired or revoked since
   are refused here. That holds for subkeys too.
3. Only what the signature covers is given back, and nothing may stand beside it: clients get the
   same bytes, and some of them would read what is not signed.
"""

import os
import re
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
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
_HEADER: Final = re.compile(rb"Hash: *[A-Za-z0-9, -]+")
_LARGEST_BLOCK: Final = 1 << 20
_MOST_SIGNATURES: Final = 64
_TOLD: Final = 8
_SKEW: Final = timedelta(minutes=30)
_WEAK: Final = frozenset({"MD5", "SHA1", "RipeMD"})
_SHOWN: Final = 200


class Signed(msgspec.Struct, frozen=True, kw_only=True):
    """What a valid signature covers, the fingerprint of the certificate that vouches for it, and
    that of its key or subkey, in upper-case hexadecimal.
    """

    text: bytes
    signer: str
    key: str


class Keyring:
    """The certificates that may vouch for an upstream. Made by `read`."""

    def __init__(self, certificates: Sequence[pysequoia.Cert]) -> None:
        merged: dict[str, pysequoia.Cert] = {}
        for each in certificates:
            before = merged.get(each.fingerprint)
            merged[each.fingerprint] = each if before is None else before.merge(each)
        self._certificates = merged
        self._keys = {
            name: key
            for certificate in merged.values()
            for key in _keys_of(certificate)
            for name in (key.fingerprint, key.key_id)
        }

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
        signatures = _packets(_check_frame(data))
        found = self._verify(data, None, now, allow_expired)
        if isinstance(found, str):
            raise self._refused(signatures, found, now)
        return found

    def verify_detached(
        self, data: bytes, signatures: bytes, *, now: datetime, allow_expired: bool = False
    ) -> Signed:
        """Return `data` with the signer when one of the signatures, armoured or binary, is valid.
        Raise `MetadataError` otherwise.
        """
        packets = [each for block in _blocks(signatures) for each in _packets(block)]
        _check_count(packets)
        reason = ""
        for each in packets:
            try:
                signature = pysequoia.Sig.from_bytes(bytes(each))
            except (RuntimeError, ValueError):
                continue  # of a version that is not known; another one may be valid
            found = self._verify(data, signature, now, allow_expired)
            if not isinstance(found, str):
                return found
            reason = reason or found
        raise self._refused(packets, reason, now)

    def _verify(
        self, data: bytes, signature: Any, now: datetime, allow_expired: bool
    ) -> Signed | str:
        """Return what is signed, or why a signature that is valid does not count; empty when none
        is valid.
        """
        try:
            found = pysequoia.verify(
                bytes=data, store=lambda _: list(self._certificates.values()), signature=signature
            )
        except (RuntimeError, ValueError):
            return ""
        reason = ""
        for valid in found.valid_sigs:
            problem = self._problem_with_keys(valid, now, allow_expired)
            if problem is None:
                text = bytes(found.bytes or b"") if signature is None else data
                signer, key = valid.certificate.upper(), valid.signing_key.upper()
                return Signed(text=text, signer=signer, key=key)
            reason = reason or problem
        return reason

    def _problem_with_keys(self, valid: Any, now: datetime, allow_expired: bool) -> str | None:
        """Return why the keys of a valid signature are refused."""
        certificate = self._certificates.get(valid.certificate.lower())
        key = self._keys.get(valid.signing_key.lower())
        if certificate is None or key is None:
            return f"by {valid.signing_key.upper()}, which the keyring lacks"
        name = valid.signing_key.upper()
        if certificate.is_revoked or key.revoked:
            return f"the key {name} is revoked"
        ends = min((each for each in (certificate.expiration, key.ends) if each), default=None)
        if ends is not None and ends <= now and not allow_expired:
            return f"the key {name} expired on {ends:%Y-%m-%d}"
        return None

    def _refused(
        self, signatures: Sequence[packet.Packet], reason: str, now: datetime
    ) -> MetadataError:
        if reason:
            return MetadataError(reason)
        if not signatures:
            return MetadataError("it holds no signature")
        said = dict.fromkeys(self._problem_with(each, now) for each in signatures)
        return MetadataError(
            f"no valid signature by a key of the keyring: {'; '.join(list(said)[:_TOLD])}"
        )

    def _problem_with(self, signature: packet.Packet, now: datetime) -> str:
        """Return why a signature is not valid, as far as it tells."""
        try:
            return self._told_problem(signature, now)
        except (RuntimeError, ValueError):  # such as an algorithm that there is not
            return "one that cannot be understood"

    def _told_problem(self, signature: packet.Packet, now: datetime) -> str:
        named = [signature.issuer_fingerprint, signature.issuer_key_id]
        issuers = [each for each in named if each]
        if not issuers:
            return "one that names no key"
        by = f"by {issuers[0].upper()}"
        key = next((self._keys[each] for each in issuers if each in self._keys), None)
        if key is None:
            return f"{by}, which the keyring lacks"
        digest = str(signature.hash_algorithm).rpartition(".")[2]
        made, ends = signature.signature_created, signature.signature_expiration_time
        if digest in _WEAK:
            said = f"with {digest}, which is too weak"
        elif key.revoked or self._certificates[key.certificate].is_revoked:
            said = "which is revoked"
        elif made is not None and made > now + _SKEW:
            said = f"made in the future, on {made:%Y-%m-%d}"
        elif ends is not None and ends <= now:
            said = f"which was valid until {ends:%Y-%m-%d}"
        else:
            said = "not of this text, or the key is too weak, or was not valid at that time"
        return f"{by}, {said}"


class _Key(msgspec.Struct, frozen=True):
    """A key of a certificate, or a subkey: when it ends, and whether it is revoked."""

    fingerprint: str
    key_id: str
    certificate: str
    ends: datetime | None = None
    revoked: bool = False


def _keys_of(certificate: pysequoia.Cert) -> list[_Key]:
    """Return the keys of a certificate. What it says of its first key is told by Sequoia."""
    found: list[_Key] = []
    created: datetime | None = None
    bound: datetime | None = None
    for each in packet.PacketPile.from_bytes(bytes(certificate)):
        if each.fingerprint is not None:
            key_id = each.key_id or ""
            found.append(_Key(each.fingerprint, key_id, certificate.fingerprint))
            created, bound = each.key_created, None
        elif each.tag != packet.Tag.Signature or len(found) < 2:
            continue
        elif each.signature_type == packet.SignatureType.SubkeyRevocation:
            found[-1] = msgspec.structs.replace(found[-1], revoked=True)
        elif each.signature_type == packet.SignatureType.SubkeyBinding:
            made = each.signature_created
            if made is not None and (bound is None or made > bound):
                bound, period = made, each.key_validity_period
                ends = None if period is None or created is None else created + period
                found[-1] = msgspec.structs.replace(found[-1], ends=ends)
    return found


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


def _check_frame(data: bytes) -> bytes:
    """Return the block of signatures. Raise unless the bytes begin with a signed text, hold one,
    and end with its signature.
    """
    lines = [line.rstrip(b" \t\r") for line in data.split(b"\n")]
    if lines[0] != _BEGIN:
        raise MetadataError(
            "it must begin with a text that is signed in the clear, found "
            f"{lines[0][:_SHOWN].decode(errors='backslashreplace')!r}"
        )
    for mark, what in ((_BEGIN, "signed text"), (_SIGNATURE, "signature"), (_END, "end")):
        if lines.count(mark) != 1:
            raise MetadataError(f"it must hold one {what}, found {lines.count(mark)}")
    first, last = lines.index(_SIGNATURE), lines.index(_END)
    if b"".join(lines[last + 1 :]).strip():
        raise MetadataError("something stands behind the signature, which is not signed")
    if first > last:
        raise MetadataError("its signature ends before it begins")
    headers = lines[1 : lines.index(b"")] if b"" in lines else lines
    if not all(map(_HEADER.fullmatch, headers)):
        raise MetadataError(
            "something else than digests stands before the text, which is not signed"
        )
    return b"\n".join(lines[first : last + 1])


def _blocks(data: bytes) -> list[bytes]:
    """Return the blocks of armoured signatures, or what is binary."""
    return _ARMOR.findall(data) or ([data] if data.strip() else [])


def _packets(block: bytes) -> list[packet.Packet]:
    """Return the signatures of a block. Raise for one that holds too many, or something else."""
    if len(block) > _LARGEST_BLOCK:
        raise MetadataError(f"its signatures have {len(block)} bytes, allowed are {_LARGEST_BLOCK}")
    try:
        found = list(packet.PacketPile.from_bytes(block))
    except (RuntimeError, ValueError) as error:
        raise MetadataError(f"it is no signature: {_first_line(error)}") from None
    _check_count(found)
    if any(each.tag != packet.Tag.Signature for each in found):
        raise MetadataError("it is no signature: it holds something else")
    return found


def _check_count(packets: Sequence[packet.Packet]) -> None:
    # Each of them costs milliseconds.
    if len(packets) > _MOST_SIGNATURES:
        raise MetadataError(f"it holds {len(packets)} signatures, allowed are {_MOST_SIGNATURES}")


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
