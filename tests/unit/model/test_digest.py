import pytest

from flowsync.errors import DeclarationError, UnsupportedDigestError
from flowsync.model.artifact import DECLARABLE, HEX_LENGTHS, DigestPolicy, check_hex

SHA256, MD5, SHA1 = "a" * 64, "b" * 32, "c" * 40


def test_known_algorithms_are_those_of_the_document_and_blake3() -> None:
    assert set(HEX_LENGTHS) == {*DECLARABLE, "blake3"}
    assert DECLARABLE == ("sha256", "sha512", "sha384", "sha224", "sha1", "md5")


@pytest.mark.parametrize(
    ("algorithm", "digits"),
    [
        ("sha256", 64),
        ("sha512", 128),
        ("sha384", 96),
        ("sha224", 56),
        ("sha1", 40),
        ("md5", 32),
        ("blake3", 64),
    ],
)
def test_digest_of_the_right_length_is_accepted(algorithm: str, digits: int) -> None:
    check_hex(algorithm, "0f" * (digits // 2))

    with pytest.raises(DeclarationError, match=f"{algorithm} must be {digits} lower-case"):
        check_hex(algorithm, "0f" * (digits // 2) + "0")


@pytest.mark.parametrize("value", ["", "A" * 64, "g" * 64, " " + "a" * 63, "a" * 63 + "\n"])
def test_what_is_no_digest_is_refused_and_shown(value: str) -> None:
    with pytest.raises(DeclarationError, match="sha256 must be 64 lower-case") as refused:
        check_hex("sha256", value)

    assert f"found {value!r}" in str(refused.value)


@pytest.mark.parametrize(
    "digests",
    [
        pytest.param({}, id="none"),
        pytest.param({"sha256": SHA256}, id="one allowed"),
        pytest.param({"sha256": SHA256, "md5": MD5}, id="allowed and forbidden"),
        pytest.param({"md5": MD5, "sha1": SHA1, "blake3": SHA256}, id="BLAKE3 among weak ones"),
    ],
)
def test_one_allowed_digest_or_none_at_all_will_do(digests: dict[str, str]) -> None:
    policy = DigestPolicy()

    policy.check_expected("http://host/a", digests)

    assert not policy.refuses(digests)


@pytest.mark.parametrize("digests", [{"md5": MD5}, {"md5": MD5, "sha1": SHA1}, {"crc32": "0"}])
def test_only_forbidden_digests_are_refused(digests: dict[str, str]) -> None:
    policy = DigestPolicy()

    with pytest.raises(
        UnsupportedDigestError, match=r"^http://host/a: only .* declared"
    ) as refused:
        policy.check_expected("http://host/a", digests)

    assert policy.refuses(digests)
    assert str(refused.value) == (
        f"http://host/a: only {', '.join(sorted(digests))} declared, "
        "allowed are blake3, sha224, sha256, sha384, sha512"
    )


def test_policy_can_allow_what_the_default_refuses() -> None:
    policy = DigestPolicy(frozenset({"sha256", "md5"}))

    policy.check_expected("http://host/a", {"md5": MD5})

    with pytest.raises(UnsupportedDigestError, match="allowed are md5, sha256"):
        policy.check_expected("http://host/a", {"sha1": SHA1})


@pytest.mark.parametrize(
    ("allowed", "found"),
    [
        ({"sha256", "crc32", "adler"}, "unknown digest algorithms: adler, crc32"),
        ({"sha512"}, "sha256 cannot be disallowed"),
        (set(), "sha256 cannot be disallowed"),
    ],
)
def test_impossible_policy_is_refused(allowed: set[str], found: str) -> None:
    with pytest.raises(DeclarationError, match=found):
        DigestPolicy(frozenset(allowed))
