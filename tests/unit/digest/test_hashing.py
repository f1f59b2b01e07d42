"""Known vectors, the shapes of files, and the comparison with what was promised."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flowsync.digest.hashing import complete, digest_bytes, digest_file, verify
from flowsync.errors import DeclarationError, DigestMismatchError, MissingDigestError
from flowsync.model.artifact import HEX_LENGTHS

ABC = {
    "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    "sha512": "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
    "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
    "sha384": "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded163"
    "1a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7",
    "sha224": "23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7",
    "sha1": "a9993e364706816aba3e25717850c26c9cd0d89d",
    "md5": "900150983cd24fb0d6963f7d28e17f72",
    "blake3": "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85",
}
EMPTY = {
    "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "blake3": "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
}
MILLION_A = {
    "sha256": "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0",
    "md5": "7707d6ae4e027c70eea2a935c2296f21",
}


def test_every_known_algorithm_gives_its_published_vector() -> None:
    assert digest_bytes(b"abc", HEX_LENGTHS) == ABC


def test_algorithms_are_those_of_the_model_in_look_up_order() -> None:
    found = dict.fromkeys(HEX_LENGTHS, "f")

    for position, algorithm in enumerate(HEX_LENGTHS):
        expected = dict.fromkeys(list(HEX_LENGTHS)[position:], "e")
        with pytest.raises(DigestMismatchError) as caught:
            verify("source", expected, found)
        assert caught.value.algorithm == algorithm
    assert complete(HEX_LENGTHS) == frozenset(HEX_LENGTHS)


def test_sha256_and_blake3_are_computed_whatever_is_asked() -> None:
    assert digest_bytes(b"abc", []) == {name: ABC[name] for name in ("sha256", "blake3")}


def test_nothing_else_is_computed_unasked() -> None:
    assert set(digest_bytes(b"abc", {"md5"})) == {"md5", "sha256", "blake3"}


def test_empty_body_has_digests() -> None:
    assert digest_bytes(b"", frozenset()) == EMPTY


def test_unknown_algorithm_is_named() -> None:
    with pytest.raises(DeclarationError, match="unknown digest algorithms: crc32, whirlpool"):
        digest_bytes(b"abc", ["whirlpool", "md5", "crc32"])


def test_file_gives_size_and_the_digests_of_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "abc"
    path.write_bytes(b"abc")

    assert digest_file(str(path), HEX_LENGTHS) == (3, ABC)


def test_empty_file_has_size_zero_and_digests(tmp_path: Path) -> None:
    path = tmp_path / "empty"
    path.touch()

    assert digest_file(str(path), ()) == (0, EMPTY)


def test_file_larger_than_the_buffer_is_hashed_whole(tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(b"a" * 1_000_000)

    size, digests = digest_file(str(path), {"md5"})

    assert size == 1_000_000
    assert {name: digests[name] for name in MILLION_A} == MILLION_A


def test_body_that_comes_in_pieces_is_hashed_whole() -> None:
    reading, writing = os.pipe()
    script = "import os; os.write(1, b'bc')"
    os.write(writing, b"a")
    subprocess.run([sys.executable, "-c", script], stdout=writing, check=True)
    os.close(writing)

    assert digest_file(f"/dev/fd/{reading}", HEX_LENGTHS) == (3, ABC)
    os.close(reading)


def test_missing_file_is_the_operating_systems_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        digest_file(str(tmp_path / "nothing"), ())


def test_no_descriptor_stays_open(tmp_path: Path) -> None:
    path = tmp_path / "abc"
    path.write_bytes(b"abc")
    before = os.listdir("/dev/fd")

    digest_file(str(path), ())
    with pytest.raises(IsADirectoryError):
        digest_file(str(tmp_path), ())

    assert os.listdir("/dev/fd") == before


@pytest.mark.parametrize("known", [{}, {"sha256": ABC["sha256"], "md5": ABC["md5"]}])
def test_equal_digests_verify_and_one_different_does_not(known: dict[str, str]) -> None:
    """The first is the control: what is said of the second is said of its wrong digest alone."""
    verify("source", known, ABC)

    with pytest.raises(DigestMismatchError) as caught:
        verify("source", {**known, "sha1": EMPTY["sha256"][:40]}, ABC)
    assert caught.value.algorithm == "sha1"


def test_different_digest_names_source_algorithm_and_both_values() -> None:
    with pytest.raises(DigestMismatchError) as caught:
        verify("https://example.org/a", {"blake3": EMPTY["blake3"]}, ABC)

    assert str(caught.value) == (
        f"https://example.org/a: blake3 is {ABC['blake3']}, expected {EMPTY['blake3']}"
    )


def test_expected_digest_that_was_not_computed_vouches_for_nothing() -> None:
    found = {name: ABC[name] for name in ("sha256", "blake3")}

    verify("source", {"md5": "0" * 32, "sha256": ABC["sha256"]}, found)

    with pytest.raises(DigestMismatchError) as caught:
        verify("source", {"md5": "0" * 32, "sha256": EMPTY["sha256"]}, found)
    assert caught.value.algorithm == "sha256"


def test_body_of_which_no_expected_digest_was_computed_is_not_verified() -> None:
    with pytest.raises(
        MissingDigestError, match="source: promised by md5, computed only blake3, sha256"
    ):
        verify("source", {"md5": ABC["md5"]}, EMPTY)


def test_worker_imports_hashing_and_little_else() -> None:
    script = """
import sys
import flowsync.digest.hashing, flowsync.runtime.spawning
print({"asyncio", "msgspec", "aiohttp", "psycopg", "uvloop"} & sys.modules.keys())
"""

    report = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    assert report.stdout == "set()\n"
