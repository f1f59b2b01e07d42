import pytest

from flowsync.errors import DeclarationError
from flowsync.model.repository import Repository, SyncResult


@pytest.mark.parametrize("name", ["wheels", "Debian-12", "ö", "a.b_c", "-", "1"])
def test_repository_may_be_named_so(name: str) -> None:
    assert Repository(name=name).name == name


@pytest.mark.parametrize(
    "name", ["", "a/b", "a@1", "a b", "a\tb", "a\nb", "\0", "a\u2003b", "a\x1b[0m", ".", ".."]
)
def test_name_that_could_be_taken_for_something_else_is_refused(name: str) -> None:
    """A name is part of paths, of URLs and of `NAME@NUMBER`, and is shown on terminals."""
    with pytest.raises(DeclarationError, match="a repository's name must be") as refused:
        Repository(name=name)

    assert f"found {name!r}" in str(refused.value)


def test_repository_keeps_every_version_and_type_unless_told_otherwise() -> None:
    repository = Repository(name="wheels")

    assert (repository.retain_versions, repository.allowed_types) == (None, None)


@pytest.mark.parametrize("count", [0, -1])
def test_at_least_one_version_is_kept(count: int) -> None:
    with pytest.raises(
        DeclarationError,
        match=f"repository 'wheels': retain_versions must be at least 1, found {count}",
    ):
        Repository(name="wheels", retain_versions=count)

    assert Repository(name="wheels", retain_versions=1).retain_versions == 1


def test_sync_that_changed_nothing_has_no_version() -> None:
    result = SyncResult(repository="wheels", present=5)

    assert (result.version, result.added, result.removed, result.error) == (None, 0, 0, None)


def test_as_many_versions_are_retained_as_the_catalog_can_count() -> None:
    with pytest.raises(DeclarationError, match="retain_versions must be at most"):
        Repository(name="wheels", retain_versions=2**31)
