from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flowsync import MetadataError
from flowsync.packages.openpgp import Keyring, SigningKey
from flowsync.sources.deb.options import DebOptions
from flowsync.sources.deb.trust import Believed, Trio, Trust, memory_of
from tests.unit.packages.keys import make_key

NOW = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)
KEY, OTHER = make_key("one"), make_key("other")


def text(**fields: str) -> bytes:
    known = {"Suite": "one", "Codename": "first", "Date": moment(NOW - DAY), **fields}
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in known.items() if value]
    return "\n".join([*lines, f"SHA256:\n {'a' * 64} 7 main/binary-amd64/Packages\n"]).encode()


def moment(at: datetime) -> str:
    return f"{at:%a, %d %b %Y %H:%M:%S} UTC"


def in_release(release: bytes, key: SigningKey = KEY) -> Trio:
    return Trio(key.sign_clear(release), None, None)


def detached(release: bytes, key: SigningKey = KEY) -> Trio:
    return Trio(None, release, key.sign_detached(release))


def judge(
    trio: Trio, *, suite: str = "one", known: dict[str, Any] | None = None, **options: Any
) -> Believed:
    given = {"suites": (suite,), "keyring": KEY.public_key.decode(), **options}
    # Signatures are made now, and verified a moment later.
    return Trust(DebOptions(**given)).judge(suite, trio, known or {}, datetime.now(UTC))


def refusal(trio: Trio, **how: Any) -> str:
    with pytest.raises(MetadataError) as refused:
        judge(trio, **how)
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize("form", [in_release, detached])
def test_a_suite_is_believed_in_both_forms(form: Any) -> None:
    found = judge(form(text()))

    assert (found.release.suite, found.signer) == ("one", KEY.fingerprint)
    assert list(found.release.listed) == ["main/binary-amd64/Packages"]


def test_a_keyring_is_a_file_too(tmp_path: Path) -> None:
    (tmp_path / "ring.asc").write_bytes(OTHER.public_key + KEY.public_key)

    judge(in_release(text()), keyring=str(tmp_path / "ring.asc"))


@pytest.mark.parametrize("form", [in_release, detached])
def test_a_suite_of_an_unknown_key_is_refused(form: Any) -> None:
    assert "which the keyring lacks" in refusal(form(text(), OTHER))


def test_a_suite_that_is_not_signed_is_refused_unless_any_is_believed() -> None:
    trio = Trio(None, text(), None)

    assert "neither InRelease nor Release.gpg" in refusal(trio)
    assert judge(trio, keyring=None, verify=False).signer == ""


def test_a_good_release_does_not_help_a_bad_in_release() -> None:
    good, bad = detached(text()), in_release(text(), OTHER)

    refusal(Trio(bad.in_release, good.release, good.signature))


def test_a_release_that_says_something_else_is_not_kept() -> None:
    signed, other = in_release(text()), detached(text(Version="2"))

    found = judge(Trio(signed.in_release, other.release, other.signature))

    assert found.trio == signed
    assert "something else" in found.warning


def test_a_release_that_says_the_same_is_kept() -> None:
    signed, same = in_release(text()), detached(text())
    trio = Trio(signed.in_release, same.release, same.signature)

    assert (judge(trio).trio, judge(trio).warning) == (trio, "")


def test_a_suite_that_is_no_longer_valid_is_refused_unless_that_is_not_looked_at() -> None:
    trio = in_release(text(Valid_Until=moment(NOW - timedelta(hours=1))))

    assert "it was valid until" in refusal(trio)
    judge(trio, check_valid_until=False)
    judge(in_release(text(Valid_Until=moment(NOW + DAY))))


def test_a_date_may_be_ahead_by_seconds_only() -> None:
    assert "is yet to come" in refusal(in_release(text(Date=moment(NOW + DAY))))
    judge(in_release(text(Date=moment(NOW + timedelta(seconds=8)))))


def test_a_date_never_goes_back() -> None:
    known = memory_of(judge(in_release(text())))

    judge(in_release(text()), known=known)
    assert "is before that of the last sync" in refusal(
        in_release(text(Date=moment(NOW - 2 * DAY))), known=known
    )


@pytest.mark.parametrize(("suite", "fits"), [("one", True), ("first", True), ("two", False)])
def test_a_suite_is_that_of_its_name_or_its_codename(suite: str, fits: bool) -> None:
    trio = in_release(text())

    if fits:
        judge(trio, suite=suite)
    else:
        assert "and not of two" in refusal(trio, suite=suite)


def test_a_flat_suite_has_any_name() -> None:
    judge(in_release(text()), suite="./")


def test_the_keys_that_a_suite_names_hold_from_then_on() -> None:
    both = KEY.public_key.decode() + OTHER.public_key.decode()
    subkey = Keyring.read(both).verify_clearsigned(KEY.sign_clear(b"x"), now=datetime.now(UTC)).key
    known = memory_of(judge(in_release(text(Signed_By=KEY.fingerprint)), keyring=both))

    judge(in_release(text()), known=known, keyring=both)
    judge(in_release(text()), known={"signed_by": [subkey]}, keyring=both)
    assert KEY.fingerprint in refusal(in_release(text(), OTHER), known=known, keyring=both)


def test_weak_digests_alone_are_refused() -> None:
    release = text().replace(b"SHA256:\n " + b"a" * 64, b"MD5Sum:\n " + b"a" * 32)

    assert "prove nothing" in refusal(in_release(release))
