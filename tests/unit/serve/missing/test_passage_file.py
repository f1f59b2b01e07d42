"""The file behind a passage, and the partial that it may belong to."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from flowsync.serve.missing.passage_file import PassageFile
from flowsync.store.staging import Partial, claimed

URL, OTHER = "http://host/one", "http://host/two"
TAG = '"tag"'
NAME = "sha256-" + "a" * 64
SIZE = 100


@pytest.fixture
def staging(tmp_path: Path) -> str:
    folder = tmp_path / "run"
    folder.mkdir()
    return str(folder)


@pytest.fixture
def partial(staging: str) -> Iterator[Partial]:
    with claimed(staging, NAME, SIZE) as partial:
        assert partial is not None
        yield partial


@pytest.fixture
def file(staging: str) -> Iterator[PassageFile]:
    file = PassageFile()
    file.path = f"{staging}/own"
    yield file
    file.close()


def kept(partial: Partial) -> bytes:
    return Path(partial.path).read_bytes()


def held(partial: Partial, url: str = URL) -> int | None:
    """Return how many bytes a transfer of the URL would go on from."""
    partial.look()
    return partial.size if partial.validator_for(url) else None


def test_a_body_that_breaks_off_stays_with_the_partial(
    file: PassageFile, partial: Partial, staging: str
) -> None:
    file.begin(partial, URL, TAG)
    file.append(b"begin")
    file.append(b"ning")

    file.discard()

    assert kept(partial) == b"beginning"
    assert (held(partial), held(partial, OTHER)) == (9, None)
    assert list(Path(staging).iterdir()) == []


def test_a_body_without_a_validator_is_not_gone_on_from(
    file: PassageFile, partial: Partial
) -> None:
    file.begin(partial, URL, None)
    file.append(b"beginning")

    assert held(partial) is None


def test_readers_get_bytes_of_before_when_the_rest_begins_to_come(
    file: PassageFile, partial: Partial
) -> None:
    partial.begin(URL, TAG).close()
    Path(partial.path).write_bytes(b"before")
    partial.look()

    file.resume(partial)
    ends = [file.end]
    same = file.append(b" and after")
    ends.append(file.end)

    assert (ends, same) == ([0, 16], True)
    assert file.read(0, 100) == kept(partial) == b"before and after"
    assert held(partial) == 16


@pytest.mark.parametrize(("again", "same"), [(b"begin and more", True), (b"begun", False)])
def test_another_body_takes_a_file_of_its_own_and_readers_know_where_it_differs(
    again: bytes, same: bool, file: PassageFile, partial: Partial, staging: str
) -> None:
    file.begin(partial, URL, TAG)
    file.append(b"begin")

    file.begin(partial, OTHER, TAG)
    told = file.append(again)

    assert told is same
    assert file.read(0, 100) == again
    assert file.path == f"{staging}/own"
    assert Path(file.path).read_bytes() == again
    assert (held(partial), held(partial, OTHER)) == (None, None)
    assert not Path(partial.path).exists()
    file.discard()
    assert list(Path(staging).iterdir()) == []


def test_wrong_bytes_are_none_to_go_on_from(file: PassageFile, partial: Partial) -> None:
    file.begin(partial, URL, TAG)
    file.append(b"wrong")
    file.finish()

    file.detach()

    assert held(partial) is None
    assert file.read(0, 100) == b"wrong"
    assert not file.goes_on_from(partial)


def test_a_verified_body_moves_to_the_folder_under_a_name_that_tells_which_it_is(
    file: PassageFile, partial: Partial, staging: str
) -> None:
    file.begin(partial, URL, TAG)
    file.append(b"right")
    file.finish()

    file.take(staging)

    assert Path(file.path).parent == Path(staging)
    assert file.path.endswith(NAME)
    assert Path(file.path).read_bytes() == b"right"
    assert not Path(partial.path).exists()
    file.discard()
    assert list(Path(staging).iterdir()) == []


def test_a_source_that_brings_nothing_leaves_what_is_there(
    file: PassageFile, partial: Partial
) -> None:
    partial.begin(URL, TAG).close()
    Path(partial.path).write_bytes(b"before")
    partial.look()

    file.begin(partial, OTHER, TAG)

    assert file.goes_on_from(partial)
    assert held(partial) == 6


def test_a_file_without_a_partial_is_its_own(file: PassageFile, staging: str) -> None:
    file.begin(None, URL, TAG)
    file.append(b"body")
    file.finish()
    file.take(staging)

    assert Path(f"{staging}/own").read_bytes() == b"body"
