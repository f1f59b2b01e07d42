import pytest

from flowsync.model.remote import AlternateSource, remote_name


@pytest.mark.parametrize(
    ("remote", "kind"),
    [
        ("acs:file:near", "file"),
        (remote_name("near", "deb"), "deb"),
        ("acs:file:other", None),
        ("acs:near", None),
        ("file:near", None),
        ("near", None),
        ("acs::near", ""),
    ],
)
def test_only_a_remote_of_its_own_tells_the_kind_of_a_source(remote: str, kind: str | None) -> None:
    assert AlternateSource(name="near", remote_name=remote, url="u:").kind == kind
