import pytest

from flowsync.serve.http.answer import content_type


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
