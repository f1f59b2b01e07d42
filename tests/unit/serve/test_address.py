from datetime import UTC, datetime, timedelta, timezone

import pytest

from flowsync.serve.address import NOWHERE, Address, BadTargetError, folder_target, parse_target


@pytest.mark.parametrize(
    ("target", "address"),
    [
        ("/", Address()),
        ("/files", Address(repository="files", bare=True)),
        ("/files/", Address(repository="files")),
        ("/files/a/b.txt", Address(repository="files", path="a/b.txt")),
        ("/files/a/", Address(repository="files", path="a/")),
        ("/files@3/a", Address(repository="files", number=3, path="a")),
        ("/files@0/a", Address(repository="files", number=0, path="a")),
        ("/files/a@3", Address(repository="files", path="a@3")),
        ("/files/with%2C%20comma", Address(repository="files", path="with, comma")),
        ("/files/%C3%A9+1", Address(repository="files", path="é+1")),
        ("/files/100%25", Address(repository="files", path="100%")),
        ("/files/%252e", Address(repository="files", path="%2e")),
        ("http://host:1/files/a", Address(repository="files", path="a")),
        ("/-/health", Address(repository="-", path="health")),
        (
            "/files@2026-11-23T10:00:00Z/a",
            Address(repository="files", moment=datetime(2026, 11, 23, 10, tzinfo=UTC), path="a"),
        ),
        (
            "/files@2026-11-23T10:00:00.5+01:00/",
            Address(
                repository="files",
                moment=datetime(2026, 11, 23, 10, 0, 0, 500000, timezone(timedelta(hours=1))),
            ),
        ),
    ],
)
def test_target_means_a_place(target: str, address: Address) -> None:
    assert parse_target(target) == (address, "")


@pytest.mark.parametrize(
    "target",
    [
        "//evil.example/",
        "/files/../secret",
        "/files/%2e%2e/secret",
        "/files/a%2Fb",
        "/files%2Fa",
        "/files/./a",
        "/files//a",
        "/@3/a",
        "/files@/a",
        "/files@-1/a",
        "/files@03/a",
        "/files@1234567890/a",
        "/files@٣/a",
        "/files@3@4/a",
        "/files@2026-11-23/a",
        "/files@2026-11-23T10:00:00/a",
        "/files@2026-13-23T10:00:00Z/a",
        "/acs:dvd/a",
        "/acs%3Advd@1/a",
    ],
)
def test_what_no_version_can_have_is_nowhere(target: str) -> None:
    assert parse_target(target) == (NOWHERE, "")


@pytest.mark.parametrize(
    "target",
    [
        "/files/%00",
        "/files/a%0Ab",
        "/files/%ff",
        "/files/%C3",
        "/f%",
        "/f%zz",
        "*",
        "ftp://h/a",
        "/" + "a" * 5000,
    ],
)
def test_what_can_be_no_path_is_a_bad_request(target: str) -> None:
    with pytest.raises(BadTargetError):
        parse_target(target)


def test_query_is_told_apart() -> None:
    address, query = parse_target("/files/a/?after=b#c")

    assert (address.path, query) == ("a/", "after=b")


def test_a_folder_is_addressed_in_the_version_that_was_asked_for() -> None:
    moment = datetime(2026, 11, 23, 10, tzinfo=UTC)

    assert folder_target(Address(repository="files"), "a b/") == "/files/a%20b/"
    assert folder_target(Address(repository="files", number=3), "") == "/files@3/"
    assert (
        folder_target(Address(repository="files", moment=moment), "x/")
        == "/files@2026-11-23T10:00:00Z/x/"
    )
