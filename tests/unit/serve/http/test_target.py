from datetime import UTC, datetime, timedelta, timezone
from urllib.parse import urljoin

import pytest

from flowsync.serve.http.request import NOWHERE, Address, BadTargetError, parse_target, with_slash


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
        ("/files/./a", Address(repository="files", path="a")),
        ("/files/%2e/a/b/%2E%2e/c", Address(repository="files", path="a/c")),
        ("/./files/a", Address(repository="files", path="a")),
        ("/../files/a", Address(repository="files", path="a")),
        ("/files/a/.", Address(repository="files", path="a/", bare=True)),
        ("/files/a/..", Address(repository="files", path="", bare=True)),
        ("/files/a/../", Address(repository="files", path="")),
        ("/files/@scope%2fname", Address(repository="files", path="@scope/name")),
        ("/files/a%2Fb/c", Address(repository="files", path="a/b/c")),
        ("/files/a%2F", Address(repository="files", path="a/", bare=True)),
        ("/files/" + "%C3%A9" * 1024, Address(repository="files", path="é" * 1024)),
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
        "/files/a/../../secret",
        "/files/a%2F..%2F..%2Fsecret",
        "/files/..",
        "/files%2Fa",
        "/files/%2Fa",
        "/files/a%2F%2Fb",
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
        "/files/" + "%C3%A9" * 2048,
    ],
)
def test_what_can_be_no_path_is_a_bad_request(target: str) -> None:
    with pytest.raises(BadTargetError):
        parse_target(target)


def test_query_is_told_apart() -> None:
    address, query = parse_target("/files/a/?after=b#c")

    assert (address.path, query) == ("a/", "after=b")


@pytest.mark.parametrize(
    ("target", "place"),
    [
        ("/files", "/prefix/files/"),
        ("/files?after=x", "/prefix/files/"),
        ("/files@2026-11-23T10:00:00+01:00", "/prefix/files@2026-11-23T10:00:00+01:00/"),
        ("/files/a%20b", "/prefix/files/a%20b/"),
        ("/files/x/http:", "/prefix/files/x/http:/"),
        ("/files/x/.", "/prefix/files/x/"),
        ("/files/x/..", "/prefix/files/"),
        ("/files/x/%2e%2E", "/prefix/files/"),
        ("/files/x%2Fy%2F", "/prefix/files/x/y/"),
        ("/files/x%3Fy", "/prefix/files/x%3Fy/"),
    ],
)
def test_a_folder_is_found_below_any_prefix_of_a_proxy(target: str, place: str) -> None:
    seen = f"http://proxy.example/prefix{target}"

    assert urljoin(seen, with_slash(target)) == f"http://proxy.example{place}"
