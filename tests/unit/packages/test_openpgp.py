import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pysequoia
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowsync.errors import MetadataError, SettingsError
from flowsync.packages.openpgp import Keyring, SigningKey
from tests.unit.packages.gnupg import Gnupg, gnupg
from tests.unit.packages.keys import make_key

TEXT = b"Origin: one\nSuite: one\n"
NOW = datetime.now(UTC)
BEGIN = b"-----BEGIN PGP SIGNED MESSAGE-----\n"
SIGNATURE = b"-----BEGIN PGP SIGNATURE-----\n"

pytestmark = pytest.mark.skipif(
    shutil.which("gpg") is None, reason="needs gpg, which makes the keys"
)


@pytest.fixture(scope="module")
def gpg() -> Iterator[Gnupg]:
    with gnupg() as made:
        made.key("good")
        made.key("other")
        made.key("rsa", "rsa2048")
        yield made


def keyring(certificates: bytes) -> Keyring:
    return Keyring(pysequoia.Cert.split_bytes(certificates))


def refusal(
    certificates: bytes, data: bytes, signature: bytes | None = None, *, now: datetime | None = None
) -> str:
    """What the error says that refuses it, in one line."""
    known, moment = keyring(certificates), now or NOW
    with pytest.raises(MetadataError) as refused:
        _ = (
            known.verify_clearsigned(data, now=moment)
            if signature is None
            else known.verify_detached(data, signature, now=moment)
        )
    said = str(refused.value)
    assert "\n" not in said
    return said


# --- what is taken ----------------------------------------------------------------------------


def test_a_text_that_is_signed_in_the_clear_is_given_back_with_its_signer(gpg: Gnupg) -> None:
    found = keyring(gpg.certificates("other", "good")).verify_clearsigned(
        gpg.clear(TEXT, "good"), now=NOW
    )

    assert found.text.rstrip(b"\n") == TEXT.rstrip(b"\n")
    assert found.signer == gpg.fingerprints("good")[0]


@pytest.mark.parametrize("armoured", [True, False])
def test_a_detached_signature_covers_all_bytes(gpg: Gnupg, armoured: bool) -> None:
    signature = gpg.detached(TEXT, "good", armoured=armoured)

    found = keyring(gpg.certificates("good")).verify_detached(TEXT, signature, now=NOW)

    assert (found.text, found.signer) == (TEXT, gpg.fingerprints("good")[0])


def test_the_signer_is_the_certificate_also_where_a_subkey_signs(gpg: Gnupg) -> None:
    gpg.key("withsubkey", at="20200101T000000")
    gpg.subkey("withsubkey", at="20200101T000000")

    found = keyring(gpg.certificates("withsubkey")).verify_clearsigned(
        gpg.clear(TEXT, "withsubkey"), now=NOW
    )

    assert found.signer == gpg.fingerprints("withsubkey")[0]


def test_one_good_signature_is_enough_whatever_is_before_it(gpg: Gnupg) -> None:
    known, signer = keyring(gpg.certificates("good")), gpg.fingerprints("good")[0]
    unknown, good = gpg.detached(TEXT, "other"), gpg.detached(TEXT, "good")

    both = gpg.clear(TEXT, "other", "good")
    piles = [
        gpg.detached(TEXT, "other", "good"),
        gpg.detached(TEXT, "other", "good", armoured=False),
        unknown + good,
        gpg.detached(b"another text", "good") + good,
    ]

    assert known.verify_clearsigned(both, now=NOW).signer == signer
    assert [known.verify_detached(TEXT, each, now=NOW).signer for each in piles] == [signer] * 4


def test_lines_with_dashes_are_given_back_as_they_were(gpg: Gnupg) -> None:
    text = b"- a list\n-----BEGIN PGP SIGNATURE-----\nFrom: x\n"

    found = keyring(gpg.certificates("good")).verify_clearsigned(gpg.clear(text, "good"), now=NOW)

    assert found.text + b"\n" == text


# --- what is refused --------------------------------------------------------------------------


def test_an_unknown_key_is_refused_by_name(gpg: Gnupg) -> None:
    known = gpg.certificates("other")
    lacks = f"by {gpg.fingerprints('good')[0]}, which the keyring lacks"

    assert lacks in refusal(known, gpg.clear(TEXT, "good"))
    assert lacks in refusal(known, TEXT, gpg.detached(TEXT, "good"))


def test_of_several_unknown_keys_each_is_named(gpg: Gnupg) -> None:
    said = refusal(gpg.certificates("rsa"), gpg.clear(TEXT, "good", "other"))

    assert gpg.fingerprints("good")[0] in said
    assert gpg.fingerprints("other")[0] in said


@pytest.mark.parametrize("digest", ["SHA1", "MD5", "RIPEMD160"])
def test_weak_digests_are_refused(gpg: Gnupg, digest: str) -> None:
    options = ("--digest-algo", digest, "--allow-weak-digest-algos")
    known = gpg.certificates("rsa")

    in_clear = refusal(known, gpg.clear(TEXT, "rsa", options=options))
    detached = refusal(known, TEXT, gpg.detached(TEXT, "rsa", options=options))

    assert "which is too weak" in in_clear
    assert "which is too weak" in detached


@pytest.mark.parametrize("kind", ["rsa1024", "dsa1024"])
def test_weak_keys_are_refused(gpg: Gnupg, kind: str) -> None:
    gpg.key(kind, kind)
    options = ("--digest-algo", "SHA256")

    said = refusal(gpg.certificates(kind), gpg.clear(TEXT, kind, options=options))

    assert "too weak" in said
    refusal(gpg.certificates(kind), TEXT, gpg.detached(TEXT, kind, options=options))


def test_a_text_that_was_changed_is_refused(gpg: Gnupg) -> None:
    known = gpg.certificates("good")

    assert "not of this text" in refusal(
        known, gpg.clear(TEXT, "good").replace(b"Suite: one", b"Suite: two")
    )
    assert "not of this text" in refusal(known, TEXT + b"x", gpg.detached(TEXT, "good"))


def test_a_key_that_expired_since_is_refused_unless_that_is_allowed(gpg: Gnupg) -> None:
    signer = gpg.key("old", ends="1y", at="20190101T000000")
    text = gpg.clear(TEXT, "old", at="20190601T000000")
    signature = gpg.detached(TEXT, "old", at="20190601T000000")
    known = gpg.certificates("old")

    assert refusal(known, text) == f"the key {signer} expired on 2020-01-01"
    assert refusal(known, TEXT, signature) == f"the key {signer} expired on 2020-01-01"
    for found in (
        keyring(known).verify_clearsigned(text, now=NOW, allow_expired=True),
        keyring(known).verify_detached(TEXT, signature, now=NOW, allow_expired=True),
        keyring(known).verify_clearsigned(text, now=datetime(2019, 7, 1, tzinfo=UTC)),
    ):
        assert found.signer == signer


def test_a_subkey_that_expired_since_is_refused_too(gpg: Gnupg) -> None:
    gpg.key("lasting", at="20190101T000000")
    subkey = gpg.subkey("lasting", ends="1y", at="20190101T000000")
    text = gpg.clear(TEXT, "lasting", at="20190601T000000")
    known = gpg.certificates("lasting")

    assert refusal(known, text) == f"the key {subkey} expired on 2020-01-01"
    keyring(known).verify_clearsigned(text, now=NOW, allow_expired=True)


def test_a_renewed_certificate_counts_beside_its_old_form(gpg: Gnupg) -> None:
    signer = gpg.key("renewed", ends="1y", at="20190101T000000")
    old = gpg.certificates("renewed")
    gpg.run("--batch", "--quick-set-expire", signer, "20y", at="20191201T000000")
    new = gpg.certificates("renewed")
    text = gpg.clear(TEXT, "renewed", at="20200601T000000")

    for known in (old + new, new + old, new):
        assert keyring(known).verify_clearsigned(text, now=NOW).signer == signer
    refusal(old, text)


def test_a_signature_that_expired_is_refused(gpg: Gnupg) -> None:
    gpg.key("brief", at="20190101T000000")
    options = ("--default-sig-expire", "1d")
    text = gpg.clear(TEXT, "brief", options=options, at="20190601T000000")

    assert "which was valid until 2019-06-02" in refusal(gpg.certificates("brief"), text)


def test_a_signature_of_the_future_is_refused(gpg: Gnupg) -> None:
    text = gpg.clear(TEXT, "good", at="20990101T000000")

    assert "made in the future, on 2099-01-01" in refusal(gpg.certificates("good"), text)


@pytest.mark.parametrize("reason", [0, 1, 3])
def test_a_revoked_key_is_refused_whatever_the_reason_and_the_time(gpg: Gnupg, reason: int) -> None:
    name = f"revoked{reason}"
    gpg.key(name, at="20190101T000000")
    text = gpg.clear(TEXT, name, at="20190601T000000")
    signature = gpg.detached(TEXT, name, at="20190601T000000")
    gpg.revoke(name, reason=reason, at="20200101T000000")

    assert "revoked" in refusal(gpg.certificates(name), text)
    assert "revoked" in refusal(gpg.certificates(name), TEXT, signature)


def test_a_revoked_subkey_is_refused(gpg: Gnupg) -> None:
    gpg.key("main", at="20190101T000000")
    subkey = gpg.subkey("main", at="20190101T000000")
    text = gpg.clear(TEXT, "main", at="20190601T000000")
    gpg.revoke_subkey("main", reason=3, at="20200101T000000")

    assert refusal(gpg.certificates("main"), text) == f"the key {subkey} is revoked"


def test_what_is_not_signed_is_refused(gpg: Gnupg) -> None:
    known = gpg.certificates("good")

    assert "found 'Origin: one'" in refusal(known, TEXT)
    assert "found ''" in refusal(known, b"")
    assert refusal(known, TEXT, b"") == "it holds no signature"
    assert "it is no signature" in refusal(known, TEXT, b"rubbish")
    assert "something else" in refusal(known, TEXT, gpg.certificates("good"))


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (b"Suite: evil\n", b"", "must begin"),
        (b"\n", b"", "must begin"),
        (b"", b"Suite: evil\n", "behind the signature"),
        (b"", b"\n\n \t\nx", "behind the signature"),
    ],
)
def test_text_beside_what_is_signed_is_refused(
    gpg: Gnupg, before: bytes, after: bytes, said: str
) -> None:
    data = before + gpg.clear(TEXT, "good") + after

    assert said in refusal(gpg.certificates("good"), data)


def test_white_space_behind_the_signature_says_nothing(gpg: Gnupg) -> None:
    data = gpg.clear(TEXT, "good") + b"\n \r\n\t\n"

    keyring(gpg.certificates("good")).verify_clearsigned(data, now=NOW)


def test_a_second_block_is_refused(gpg: Gnupg) -> None:
    known, signed = gpg.certificates("good"), gpg.clear(TEXT, "good")
    armoured = gpg.detached(TEXT, "good")

    assert "one signed text, found 2" in refusal(known, signed + signed)
    assert "one signature, found 2" in refusal(known, signed + armoured)
    assert "one signature, found 2" in refusal(
        known, signed.replace(SIGNATURE, b"-----BEGIN PGP SIGNATURE----- \r\n\nx: y\n" + SIGNATURE)
    )


def test_headers_that_are_not_signed_are_refused(gpg: Gnupg) -> None:
    signed = gpg.clear(TEXT, "good")

    for header in (b"Suite: evil", b"Comment: x", b" Hash: SHA256", b"Hash: SHA256\rSuite: evil"):
        data = signed.replace(BEGIN, BEGIN + header + b"\n")
        assert "before the text" in refusal(gpg.certificates("good"), data)


def test_text_that_follows_two_blank_lines_is_text(gpg: Gnupg) -> None:
    signed = gpg.clear(TEXT, "good")
    at = signed.index(b"\n\n")

    refusal(gpg.certificates("good"), signed[:at] + b"\n\nSuite: evil" + signed[at:])


def test_thousands_of_signatures_are_refused_before_they_cost_time(gpg: Gnupg) -> None:
    one = gpg.detached(b"another text", "good", armoured=False)
    block = pysequoia.armor(one * 2000, pysequoia.ArmorKind.Signature).encode()
    data = BEGIN + b"Hash: SHA256\n\n" + TEXT + block

    assert "allowed are 64" in refusal(gpg.certificates("good"), data)
    assert "allowed are 64" in refusal(gpg.certificates("good"), TEXT, one * 2000)
    assert "bytes, allowed are" in refusal(gpg.certificates("good"), TEXT, one * 20_000)


@settings(deadline=None)
@given(st.binary(max_size=400), st.integers(0, 3))
def test_any_bytes_are_refused_with_a_word(rubbish: bytes, form: int) -> None:
    known = Keyring([])
    data = [
        rubbish,
        BEGIN + rubbish,
        BEGIN + b"\n" + rubbish + SIGNATURE + b"\n-----END PGP SIGNATURE-----\n",
        BEGIN + b"\nx\n" + SIGNATURE + rubbish + b"\n-----END PGP SIGNATURE-----\n",
    ][form]

    with pytest.raises(MetadataError):
        known.verify_clearsigned(data, now=NOW)
    with pytest.raises(MetadataError):
        known.verify_detached(TEXT, data, now=NOW)


@settings(deadline=None)
@given(at=st.integers(0), change=st.integers(1, 255))
def test_a_signature_with_another_byte_is_no_signature(at: int, change: int) -> None:
    """Bytes that are not signed, such as hints at the key, may change; the text may not."""
    signed = bytearray(SIGNED)
    signed[at % len(signed)] ^= change
    try:
        found = KNOWN.verify_clearsigned(bytes(signed), now=NOW)
    except MetadataError:
        return
    assert found.text.replace(b"\r", b"").rstrip() == TEXT.rstrip()


KEY = make_key()
KNOWN = Keyring([pysequoia.Cert.from_bytes(KEY.public_key)])
SIGNED = KEY.sign_clear(TEXT)


# --- keyrings and keys ------------------------------------------------------------------------


@pytest.mark.parametrize("armoured", [True, False])
def test_a_keyring_is_a_file_with_one_certificate_or_more(
    gpg: Gnupg, tmp_path: Path, armoured: bool
) -> None:
    path = tmp_path / "keyring"
    path.write_bytes(
        gpg.certificates("good", armoured=armoured) + gpg.certificates("other", armoured=armoured)
    )

    known = Keyring.read(str(path))

    for name in ("good", "other"):
        found = known.verify_clearsigned(gpg.clear(TEXT, name), now=NOW)
        assert found.signer == gpg.fingerprints(name)[0]


def test_a_keyring_is_armoured_text(gpg: Gnupg) -> None:
    text = gpg.certificates("good", "other", armoured=True).decode()

    found = Keyring.read(text).verify_clearsigned(gpg.clear(TEXT, "other"), now=NOW)
    assert found.signer == gpg.fingerprints("other")[0]


def test_a_keyring_that_cannot_be_read_is_an_error_of_the_settings(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "rubbish").write_bytes(b"rubbish")

    for name in ("missing", "empty", "rubbish", "with\0nul"):
        with pytest.raises(SettingsError) as refused:
            Keyring.read(str(tmp_path / name))
        assert "keyring" in str(refused.value)
        assert "\n" not in str(refused.value)


def test_a_signing_key_is_a_file_text_or_a_variable(
    gpg: Gnupg, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = gpg.secret("good")
    armoured = str(pysequoia.Tsk.from_bytes(secret))
    (tmp_path / "key").write_bytes(secret)
    (tmp_path / "key.asc").write_text(armoured)
    monkeypatch.setenv("MIRROR_KEY", armoured)

    settings = [str(tmp_path / "key"), str(tmp_path / "key.asc"), armoured, "env:MIRROR_KEY"]
    keys = [SigningKey.read(setting) for setting in settings]

    assert {key.fingerprint for key in keys} == {gpg.fingerprints("good")[0]}
    known = Keyring.read(keys[0].public_key.decode())
    for key in keys:
        known.verify_clearsigned(key.sign_clear(TEXT), now=datetime.now(UTC))
        found = known.verify_detached(TEXT, key.sign_detached(TEXT), now=datetime.now(UTC))
        assert found.signer == key.fingerprint


def test_a_signing_key_never_shows_itself(
    gpg: Gnupg, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = make_key()
    assert repr(key) == f"SigningKey({key.fingerprint})"
    assert b"PRIVATE" not in key.public_key

    begin = "-----BEGIN PGP PRIVATE KEY BLOCK-----"
    broken = f"{begin}\n\nc2VjcmV0IG9mIG1pbmU=\n-----END PGP PRIVATE KEY BLOCK-----\n"
    monkeypatch.setenv("MIRROR_KEY", broken)
    for setting in (broken, "env:MIRROR_KEY", "env:MISSING_KEY", str(tmp_path / "missing")):
        with pytest.raises(SettingsError) as refused:
            SigningKey.read(setting)
        assert "c2Vj" not in str(refused.value)
        assert "\n" not in str(refused.value)


def test_a_certificate_is_no_signing_key(gpg: Gnupg) -> None:
    with pytest.raises(SettingsError, match="cannot be used"):
        SigningKey.read(gpg.certificates("good", armoured=True).decode())


def test_a_key_with_a_passphrase_is_refused_with_a_word(gpg: Gnupg, tmp_path: Path) -> None:
    words = ["--batch", "--passphrase", "secret", "--quick-gen-key"]
    gpg.run(*words, "locked <locked@example.org>", "ed25519", "sign", "never")
    (tmp_path / "key").write_bytes(gpg.secret("locked", passphrase="secret"))

    with pytest.raises(SettingsError, match="encrypted"):
        SigningKey.read(str(tmp_path / "key"))


@pytest.mark.skipif(shutil.which("gpgv") is None, reason="needs gpgv")
def test_gpgv_takes_our_signatures(gpg: Gnupg, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(gpg.secret("rsa"))
    key = SigningKey.read(str(secret))
    (tmp_path / "known").write_bytes(gpg.certificates("rsa"))
    (tmp_path / "Release").write_bytes(TEXT)
    (tmp_path / "InRelease").write_bytes(key.sign_clear(TEXT))
    (tmp_path / "Release.gpg").write_bytes(key.sign_detached(TEXT))

    for words in (["InRelease"], ["Release.gpg", "Release"]):
        gpgv = ["gpgv", "--status-fd", "1", "--keyring", str(tmp_path / "known"), *words]
        done = subprocess.run(gpgv, cwd=tmp_path, capture_output=True, check=False)
        assert f"VALIDSIG {key.fingerprint}".encode() in done.stdout, done.stderr
