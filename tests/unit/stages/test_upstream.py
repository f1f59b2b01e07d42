"""When a sync may be skipped because upstream is what the last one saw."""

import msgspec
import pytest

from flowsync import DeclarationError, Remote
from flowsync.stages.upstream import (
    SyncTerms,
    UpstreamMemory,
    UpstreamRecord,
    options_digest,
)

TERMS = SyncTerms(
    url="http://h/PULP_MANIFEST", remote="files", policy="immediate", mirror=False, version=3
)
SEEN = {"sha256": "abc"}


class Options(msgspec.Struct):
    suites: frozenset[str] = frozenset()


class OtherOptions(msgspec.Struct):
    suites: frozenset[str] = frozenset()


class Unwritable(msgspec.Struct):
    thing: object


def after(**changes: object) -> SyncTerms:
    return msgspec.structs.replace(TERMS, **changes)


async def nothing_missing() -> int:
    return 0


async def one_missing() -> int:
    return 1


def memory(
    record: UpstreamRecord | None, *, mirror: bool = False, version: int = 3, missing: object = None
) -> UpstreamMemory:
    return UpstreamMemory(
        record,
        mirror=mirror,
        version=version,
        count_missing=one_missing if missing else nothing_missing,
    )


def remote(**fields: object) -> Remote:
    return Remote(**{"name": "files", "url": "http://h/PULP_MANIFEST", **fields})  # type: ignore[arg-type]


def test_identical_terms_are_covered() -> None:
    assert TERMS.covers(after())


@pytest.mark.parametrize(
    "change", [{"url": "http://h/other"}, {"remote": "other"}, {"version": 4}, {"version": 2}]
)
def test_another_url_remote_or_version_is_not_covered(change: dict[str, object]) -> None:
    assert not TERMS.covers(after(**change))


def test_other_stages_or_options_are_not_covered() -> None:
    """They may declare, change or drop something else."""
    assert not TERMS.covers(after(stages=("mine:Stage",)))
    assert not TERMS.covers(after(options={"suites": ["a"]}))
    assert after(options={"suites": ["a"]}).covers(after(options={"suites": ["a"]}))


async def test_what_was_seen_with_other_options_is_not_recalled() -> None:
    first = memory(None)
    first.remember(remote(), SEEN, options={"suites": ("a", "b")})
    record = first.record(3)

    again = memory(record)

    assert await again.recall(remote(), options={"suites": ["a", "b"]}) == SEEN
    assert await again.recall(remote(), options={"suites": ["a"]}) is None
    assert await again.recall(remote()) is None


def test_the_digest_of_options_tells_them_apart_and_sets_have_no_order() -> None:
    digests = {
        options_digest([Options()]),
        options_digest([Options(suites=frozenset({"a"}))]),
        options_digest([OtherOptions()]),
        options_digest([None]),
    }

    assert len(digests) == 4
    assert options_digest([None, None]) == ""
    names = [f"suite-{number}" for number in range(20)]
    forwards = options_digest([Options(suites=frozenset(names))])
    assert forwards == options_digest([Options(suites=frozenset(reversed(names)))])


def test_a_record_of_other_kind_options_does_not_cover() -> None:
    digest = options_digest([Options()])

    assert not TERMS.covers(after(kind_options=digest))
    assert after(kind_options=digest).covers(after(kind_options=digest))


def test_options_without_a_form_are_refused() -> None:
    with pytest.raises(DeclarationError, match="options of a stage"):
        options_digest([Unwritable(object())])


@pytest.mark.parametrize("seen", [{"etag": "a\0"}, {"etag": "\udce9"}, {"x": object()}])
def test_what_cannot_be_kept_is_refused(seen: dict[str, object]) -> None:
    with pytest.raises(DeclarationError, match="what is to be remembered of upstream"):
        memory(None).remember(remote(), seen)


@pytest.mark.parametrize(
    ("first", "then", "covered"),
    [
        ("on_demand", "immediate", False),
        ("streamed", "immediate", False),
        ("immediate", "on_demand", True),
        ("immediate", "streamed", True),
        ("on_demand", "streamed", True),
        ("streamed", "on_demand", True),
    ],
)
def test_fetching_covers_not_fetching(first: str, then: str, covered: bool) -> None:
    assert after(policy=first).covers(after(policy=then)) is covered


@pytest.mark.parametrize(("first", "then", "covered"), [(False, True, False), (True, False, True)])
def test_a_mirror_covers_an_additive_sync(first: bool, then: bool, covered: bool) -> None:
    assert after(mirror=first).covers(after(mirror=then)) is covered


async def test_nothing_is_recalled_of_a_repository_that_was_never_synced() -> None:
    assert await memory(None).recall(remote()) is None


async def test_what_was_seen_is_recalled_under_the_same_terms_only() -> None:
    record = UpstreamRecord(terms=TERMS, seen=SEEN)

    assert await memory(record).recall(remote()) == SEEN
    assert await memory(record).recall(remote(url="http://h/other")) is None
    assert await memory(record, version=4).recall(remote()) is None
    assert await memory(record, mirror=True).recall(remote()) is None


async def test_missing_artifacts_forbid_skipping_an_immediate_sync() -> None:
    record = UpstreamRecord(terms=TERMS, seen=SEEN)

    assert await memory(record, missing=True).recall(remote()) is None
    assert await memory(record, missing=True).recall(remote(policy="on_demand")) == SEEN


def test_what_is_kept_has_the_version_that_the_sync_left() -> None:
    """Details are stored after each sync."""
    upstream = memory(None, mirror=True)

    nothing = upstream.record(4)
    upstream.remember(remote(policy="streamed"), SEEN)
    record = upstream.record(4)

    assert nothing is None
    assert record == UpstreamRecord(
        terms=after(mirror=True, policy="streamed", version=4), seen=SEEN
    )


async def test_what_was_seen_last_is_told_whatever_the_options_were_but_of_its_url_only() -> None:
    first = memory(None)
    first.remember(remote(), SEEN, options={"suites": ["a"]})
    then = memory(first.record(3), version=5, mirror=True)

    assert await then.recall(remote(), options={"suites": ["b"]}) is None
    assert then.last_seen(remote()) == SEEN
    assert then.last_seen(remote(url="http://h/other")) == {}
    assert memory(None).last_seen(remote()) == {}
