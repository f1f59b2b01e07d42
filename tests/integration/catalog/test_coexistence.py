"""Which units may be in one version, and which replace each other."""

import hashlib

import pytest

from flowsync.catalog.versions.repositories import Repositories
from flowsync.errors import (
    DisallowedContentError,
    DuplicateContentError,
    RepositoryVersionError,
)
from flowsync.model.artifact import Artifact
from flowsync.model.repository import Repository, RepositoryVersion
from tests.integration.catalog.units import File, Package, Shelf

R = Repository(name="r")


async def add(
    repositories: Repositories, *units: bytes, repository: Repository = R
) -> RepositoryVersion | None:
    async with repositories.new_version(repository) as version:
        await version.add_content(units)
    return version.completed


async def present(repositories: Repositories) -> set[bytes]:
    return {unit async for batch in repositories.content_ids("r") for unit in batch}


async def refused(repositories: Repositories, *units: bytes) -> str:
    """Add units that cannot coexist; return what the error says after its beginning."""
    number = (await repositories.version("r")).number
    with pytest.raises(RepositoryVersionError) as caught:
        await add(repositories, *units)
    assert isinstance(caught.value, ValueError)
    assert (await repositories.version("r")).number == number
    where, _, what = str(caught.value).partition(": ")
    assert where == f"repository version {number + 1} of 'r'"
    return what


@pytest.fixture(autouse=True)
async def _repository(repositories: Repositories) -> None:
    await repositories.ensure(R)


# --- types ------------------------------------------------------------------------------------


async def test_type_that_is_not_allowed_is_refused(
    repositories: Repositories, shelf: Shelf
) -> None:
    files = await shelf.files("a")
    packages = await shelf.packages("b")
    only_files = Repository(name="r", allowed_types=frozenset({"test.file"}))

    with pytest.raises(
        DisallowedContentError,
        match=r"content of type test.package is not allowed, only of test.file",
    ):
        await add(repositories, *files, *packages, repository=only_files)
    version = await add(repositories, *files, repository=only_files)

    assert version is not None
    assert version.number == 1


async def test_what_was_there_before_types_were_narrowed_stays(
    repositories: Repositories, shelf: Shelf
) -> None:
    packages = await shelf.packages("a", "b")
    files = await shelf.files("f")
    await add(repositories, *packages)
    only_files = Repository(name="r", allowed_types=frozenset({"test.file"}))

    await add(repositories, *files, repository=only_files)

    assert await present(repositories) == {*packages, *files}


# --- repository keys --------------------------------------------------------------------------


async def test_added_unit_replaces_an_older_one_with_its_repository_key(
    repositories: Repositories, shelf: Shelf
) -> None:
    old = await shelf.files("a", "b", "c", body="old")
    new = await shelf.files("a", "b", "c", body="new")
    await add(repositories, *old)

    version = await add(repositories, *new)

    assert version is not None
    assert (version.number, version.added, version.removed, version.present) == (2, 3, 3, 3)
    assert await present(repositories) == set(new)


async def test_replacing_there_and_back_in_one_version_changes_nothing(
    repositories: Repositories, shelf: Shelf
) -> None:
    (old,) = await shelf.files("a", body="old")
    (new,) = await shelf.files("a", body="new")
    await add(repositories, old)

    async with repositories.new_version(R) as version:
        await version.add_content([new])
        await version.remove_content([new])

    assert version.completed is None


async def test_same_key_in_another_repository_is_left_alone(
    repositories: Repositories, shelf: Shelf
) -> None:
    (old,) = await shelf.files("a", body="old")
    (new,) = await shelf.files("a", body="new")
    await add(repositories, old)

    await add(repositories, new, repository=Repository(name="other"))

    assert await present(repositories) == {old}


async def test_two_added_units_with_one_repository_key_are_refused(
    repositories: Repositories, shelf: Shelf
) -> None:
    one = await shelf.files("a", "b", body="one")
    two = await shelf.files("a", "b", body="two")

    with pytest.raises(DuplicateContentError):
        await add(repositories, *one, *two)
    what = await refused(repositories, *one, *two)

    assert what == ("units that exclude each other are added together: 'a' and 'a', 'b' and 'b'")


async def test_few_of_many_repeated_keys_are_named(
    repositories: Repositories, shelf: Shelf
) -> None:
    names = [f"file-{number}" for number in range(9)]
    units = [*await shelf.files(*names, body="one"), *await shelf.files(*names, body="two")]

    what = await refused(repositories, *units)

    assert "'file-4' and 'file-4' and 4 more" in what
    assert "file-5" not in what


async def test_unit_without_paths_is_named_by_its_type(
    repositories: Repositories, shelf: Shelf
) -> None:
    one = await shelf.put(File(relative_path="a", body="one"), {})
    two = await shelf.put(File(relative_path="a", body="two"), {})

    what = await refused(repositories, one, two)

    assert 'test.file {"body": "one", "relative_path": "a"}' in what


async def test_content_added_on_top_of_a_base_replaces_what_the_base_has(
    repositories: Repositories, shelf: Shelf
) -> None:
    (first,) = await shelf.files("a", body="first")
    (second,) = await shelf.files("a", body="second")
    await add(repositories, first)
    await add(repositories, second)

    async with repositories.new_version(R, base=("r", 1)) as version:
        await version.add_content([second])

    assert version.completed is None
    assert await present(repositories) == {second}


async def test_content_added_to_a_base_of_another_repository_replaces_what_the_base_brought(
    repositories: Repositories, shelf: Shelf
) -> None:
    based = await shelf.files("a", "b", body="base")
    (new,) = await shelf.files("a", body="new")
    await add(repositories, *based, repository=Repository(name="other"))

    async with repositories.new_version(R, base=("other", 1)) as version:
        await version.add_content([new])

    assert version.completed is not None
    assert (version.completed.added, version.completed.removed) == (2, 0)
    assert await present(repositories) == {new, based[1]}


# --- one path, several units ------------------------------------------------------------------


async def test_units_may_share_an_artifact_at_one_path(
    repositories: Repositories, shelf: Shelf
) -> None:
    one = await shelf.put(Package(name="one"), {"shared": b"same"})
    two = await shelf.put(Package(name="two"), {"shared": b"same"})

    version = await add(repositories, one, two)

    assert version is not None
    assert version.present == 2


@pytest.mark.parametrize("together", [True, False])
async def test_different_artifacts_at_one_path_are_refused(
    repositories: Repositories, shelf: Shelf, together: bool
) -> None:
    one = await shelf.put(Package(name="one"), {"shared": b"same", "x": b"x"})
    two = await shelf.put(Package(name="two"), {"shared": b"other", "y": b"x"})
    if not together:
        await add(repositories, one)

    what = await refused(repositories, one, two)

    assert what == "several units have different bytes at one path: 'shared'"


async def test_path_of_a_removed_unit_is_free(repositories: Repositories, shelf: Shelf) -> None:
    one = await shelf.put(Package(name="one"), {"shared": b"one"})
    two = await shelf.put(Package(name="two"), {"shared": b"two"})
    await add(repositories, one)

    async with repositories.new_version(R) as version:
        await version.remove_content([one])
        await version.add_content([two])

    assert await present(repositories) == {two}


async def test_units_that_were_never_fetched_share_a_path_when_a_declared_digest_agrees(
    repositories: Repositories, shelf: Shelf
) -> None:
    stored = await shelf.put(Package(name="stored"), {"shared": b"same"})
    strong = await shelf.put(Package(name="strong"), {"shared": None})
    weak = await shelf.put(Package(name="weak"), {"shared": None})
    sha256, md5 = hashlib.sha256(b"same").hexdigest(), hashlib.md5(b"same").hexdigest()
    await shelf.declare(strong, "shared", Artifact(sha256=sha256, md5=md5))
    await shelf.declare(weak, "shared", Artifact(md5=md5))

    assert await add(repositories, stored, strong) is not None
    assert await add(repositories, strong, weak, repository=Repository(name="s")) is not None
    what = await refused(repositories, weak)

    # The stored artifact has no md5, so nothing says that its bytes are those of the weakly
    # declared one.
    assert what == "several units have different bytes at one path: 'shared'"


async def test_units_of_unknown_bytes_cannot_share_a_path(
    repositories: Repositories, shelf: Shelf
) -> None:
    one = await shelf.put(Package(name="one"), {"shared": None})
    two = await shelf.put(Package(name="two"), {"shared": None})
    await shelf.declare(one, "shared", Artifact(sha256="0" * 64))
    await shelf.declare(two, "shared", Artifact(sha256="1" * 64))

    assert "'shared'" in await refused(repositories, one, two)


# --- paths below paths ------------------------------------------------------------------------


async def test_neighbours_in_folders_are_fine(repositories: Repositories, shelf: Shelf) -> None:
    units = await shelf.files(
        "a/b", "a/c/d", "a/b.txt", "a-b/c", "ab", "b", "a/b0/c", "ü/a", "ü/b/c"
    )

    version = await add(repositories, *units)

    assert version is not None
    assert version.present == 9


@pytest.mark.parametrize("order", ["together", "file first", "folder first"])
@pytest.mark.parametrize(("file", "below"), [("a/b", "a/b/c"), ("a", "a/b/c/d"), ("ü", "ü/ä")])
async def test_path_below_the_path_of_a_file_is_refused(
    repositories: Repositories, shelf: Shelf, file: str, below: str, order: str
) -> None:
    files = await shelf.files(file, f"{file}-b", f"{file}.c", f"{file}0")
    folders = await shelf.files(below)
    if order == "file first":
        await add(repositories, *files)
        added = folders
    elif order == "folder first":
        await add(repositories, *folders)
        added = files
    else:
        added = [*files, *folders]
    # Other repositories are another world.
    await add(repositories, *files, repository=Repository(name="files"))
    await add(repositories, *folders, repository=Repository(name="folders"))

    what = await refused(repositories, *added)

    assert what == f"a path lies below the path of a file: {below!r} below {file!r}"


async def test_paths_of_one_unit_are_checked_too(repositories: Repositories, shelf: Shelf) -> None:
    unit = await shelf.put(Package(name="one"), {"a": b"1", "a/b": b"2"})

    assert "'a/b' below 'a'" in await refused(repositories, unit)
