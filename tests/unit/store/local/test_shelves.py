import os

import pytest

from flowsync.store import StoreUsage
from flowsync.store.local.shelves import Shelves
from flowsync.testing.bodies import HELLO, HELLO_NAME, NOWHERE_NAME


@pytest.fixture
def shelves(tmp_path):
    return Shelves(str(tmp_path))


def put(shelves: Shelves, name: str, body: bytes) -> None:
    os.makedirs(shelves.folder(name), exist_ok=True)
    with open(shelves.path(name), "wb") as file:
        file.write(body)


def test_a_path_is_made_of_the_first_two_digits_and_the_name():
    assert Shelves("/store").path("abcdef") == "/store/ab/abcdef"
    assert Shelves("/store").folder("abcdef") == "/store/ab"


@pytest.mark.parametrize(
    ("body", "size", "holds"),
    [
        (HELLO, 5, True),
        (HELLO, 6, False),
        (HELLO, None, False),
        (b"jello", 5, False),
        (b"", 0, False),
    ],
)
def test_a_blob_is_held_when_size_and_digest_are_right(shelves, body, size, holds):
    put(shelves, HELLO_NAME, body)

    assert shelves.holds(HELLO_NAME, size) is holds


def test_a_blob_larger_than_one_read_is_verified_whole(shelves):
    body = bytes(3 << 20)
    name = "01ebbbb8f3c5797a16c7e6bbc20c5ba3bd8a98a5c47bd3e2c2ef3fcc1f4d2a06"
    put(shelves, name, body)

    assert shelves.holds(name, len(body)) is False


def test_a_blob_that_is_not_there_or_cannot_be_read_is_not_held(shelves):
    os.makedirs(shelves.path(HELLO_NAME))

    assert shelves.holds(HELLO_NAME, 5) is False
    assert shelves.holds(NOWHERE_NAME, 5) is False


def test_placing_makes_the_folder_and_replaces_what_is_there(shelves, tmp_path):
    for body in (b"first", b"second"):
        (tmp_path / "source").write_bytes(body)
        shelves.place(f"{tmp_path}/source", HELLO_NAME)

    assert (tmp_path / "ea" / HELLO_NAME).read_bytes() == b"second"
    assert not (tmp_path / "source").exists()


def test_placing_nothing_is_an_error(shelves, tmp_path):
    with pytest.raises(FileNotFoundError):
        shelves.place(f"{tmp_path}/source", HELLO_NAME)


def test_usage_counts_what_stands_in_the_folders(shelves, tmp_path):
    put(shelves, HELLO_NAME, HELLO)
    put(shelves, NOWHERE_NAME, b"123")
    (tmp_path / "stray").write_bytes(b"no blob")

    assert shelves.usage() == StoreUsage(blobs=2, bytes=8)


def test_names_without_a_blob_are_missing(shelves):
    put(shelves, HELLO_NAME, HELLO)

    assert shelves.missing([HELLO_NAME, NOWHERE_NAME]) == {NOWHERE_NAME}
