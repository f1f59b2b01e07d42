"""In which order sources are asked, by what was learned of them."""

import pytest

from flowsync.acquire.sources import REMEMBERED, ByteSource, Cooling
from flowsync.errors import (
    DigestMismatchError,
    SizeMismatchError,
    StatusError,
    TransferError,
    TransferTimeoutError,
    UnreachableError,
    UnsupportedDigestError,
)
from flowsync.model.artifact import Artifact
from flowsync.model.remote import COOL_DOWN, Remote

SHA256 = "a" * 64
WANTED = Artifact(sha256=SHA256, size=4)
OTHER = Artifact(sha256="b" * 64, size=4)


def source(name: str, *paths: str) -> ByteSource:
    urls = [f"http://{name}/{path}" for path in paths or ("file",)]
    return ByteSource(Remote(name=name, url=f"http://{name}/"), urls)


NEAR, FAR = source("near"), source("far")
UNREACHABLE = UnreachableError("http://near/file", "refused")
LATE = TransferTimeoutError("http://near/file", "no connection within 30 s")
WRONG = DigestMismatchError("http://near/file", "sha256", SHA256, "c" * 64)


def order(cooling: Cooling, wanted: Artifact = WANTED, now: float = 0.0) -> list[str]:
    found = cooling.in_order([NEAR, FAR], wanted, now)
    return [str(each.remote and each.remote.name) for each in found]


def test_sources_are_asked_as_they_are_given() -> None:
    assert order(Cooling()) == ["near", "far"]


@pytest.mark.parametrize("error", [UNREACHABLE, LATE, WRONG])
def test_one_that_failed_comes_last_for_a_while(error: Exception) -> None:
    cooling = Cooling()

    cooling.failed(NEAR, "http://near/file", error, 10.0)

    assert order(cooling, now=10.0) == ["far", "near"]
    assert order(cooling, now=9.0 + COOL_DOWN) == ["far", "near"]
    assert order(cooling, now=10.0 + COOL_DOWN) == ["near", "far"]


@pytest.mark.parametrize(
    "error",
    [
        StatusError("http://near/file", "status 404", 404),
        TransferError("http://near/file", "broke off"),
        UnsupportedDigestError("only md5"),
    ],
)
def test_other_failures_say_nothing_of_what_comes_next(error: Exception) -> None:
    cooling = Cooling()

    cooling.failed(NEAR, "http://near/file", error, 0.0)

    assert order(cooling) == ["near", "far"]


def test_who_cannot_be_reached_comes_last_for_all_bytes_and_who_was_wrong_for_these() -> None:
    unreachable, wrong = Cooling(), Cooling()

    unreachable.failed(NEAR, "http://near/file", UNREACHABLE, 0.0)
    wrong.failed(NEAR, "http://near/file", WRONG, 0.0)

    assert order(unreachable, OTHER) == ["far", "near"]
    assert order(wrong, OTHER) == ["near", "far"]


def test_a_size_that_only_one_declares_says_nothing_to_others() -> None:
    """A list that lies about sizes makes no upstream wrong for those who do not believe it."""
    cooling = Cooling()

    cooling.failed(NEAR, "http://near/file", SizeMismatchError("http://near/file", 5, 4), 0.0)

    assert order(cooling, Artifact(sha256=SHA256, size=5)) == ["far", "near"]
    assert order(cooling, WANTED) == ["near", "far"]


@pytest.mark.parametrize("error", [UNREACHABLE, WRONG])
def test_a_success_ends_it(error: Exception) -> None:
    cooling = Cooling()
    cooling.failed(NEAR, "http://near/file", error, 0.0)

    cooling.worked(NEAR, "http://near/file", WANTED)

    assert order(cooling) == ["near", "far"]


def test_all_that_failed_are_asked_in_their_order() -> None:
    cooling = Cooling()
    for each in (FAR, NEAR):
        cooling.failed(each, each.urls[0], UNREACHABLE, 0.0)

    assert order(cooling) == ["near", "far"]


def test_a_source_is_wrong_when_all_its_urls_were() -> None:
    cooling = Cooling()
    both = source("near", "one", "two")

    cooling.failed(both, both.urls[0], WRONG, 0.0)
    one = cooling.gave_wrong_bytes(both.urls, WANTED, 1.0)
    cooling.failed(both, both.urls[1], WRONG, 0.5)
    two = cooling.gave_wrong_bytes(both.urls, WANTED, 1.0)

    assert (one, two) == (False, True)
    assert not cooling.gave_wrong_bytes(both.urls, WANTED, 1.0, within=0.5)
    assert not cooling.gave_wrong_bytes([], WANTED, 1.0)


def test_who_is_not_there_again_and_again_is_asked_ever_less() -> None:
    """Many failures at one time are one."""
    cooling = Cooling()
    for at in (0.0, 1.0, 2.0):
        cooling.failed(NEAR, "http://near/file", UNREACHABLE, at)
    assert order(cooling, now=COOL_DOWN) == ["near", "far"]

    cooling.failed(NEAR, "http://near/file", UNREACHABLE, COOL_DOWN)
    assert order(cooling, now=COOL_DOWN * 3 - 1) == ["far", "near"]
    now = COOL_DOWN * 3
    for _ in range(10):
        cooling.failed(NEAR, "http://near/file", UNREACHABLE, now)
        now += 3600.0
        assert order(cooling, now=now) == ["near", "far"]


def test_what_is_remembered_is_bounded() -> None:
    cooling = Cooling()
    for number in range(REMEMBERED + 1):
        cooling.failed(NEAR, f"http://near/{number}", WRONG, 0.0)

    assert not cooling.gave_wrong_bytes(["http://near/0"], WANTED, 0.0)
    assert cooling.gave_wrong_bytes(["http://near/1"], WANTED, 0.0)
