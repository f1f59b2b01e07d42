import pytest

from flowsync.serve.address import parse_target
from flowsync.serve.caching import cache_control, content_type


@pytest.mark.parametrize(
    ("target", "value"),
    [
        ("/files/a", "public, no-cache"),
        ("/files@2026-11-23T10:00:00Z/a", "public, no-cache"),
        ("/files@3/a", "public, max-age=31536000, immutable"),
    ],
)
def test_only_a_number_makes_a_path_immutable(target: str, value: str) -> None:
    address, _ = parse_target(target)

    assert cache_control(address) == value


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("a.txt", "text/plain"),
        ("x/index.html", "text/html"),
        ("a.tar.gz", "application/gzip"),
        ("a.json", "application/json"),
        ("PULP_MANIFEST", "application/octet-stream"),
        ("data:text/html,x", "application/octet-stream"),
    ],
)
def test_type_goes_by_the_name_and_packed_files_stay_packed(path: str, kind: str) -> None:
    assert content_type(path) == kind
