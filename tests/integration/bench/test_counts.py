"""The deterministic counts of the gate (`python -m bench.counts`) at small size, with what they are
written out.

A number that becomes smaller here is good news: write it down. One that becomes larger wants a
reason.
"""

from pathlib import Path

import psycopg

from bench.counts.catalog import count_calls
from bench.counts.everything import count_waves, count_whole, wired
from bench.counts.frontend import PREPARING, Tally
from bench.counts.whole import SIZE

LOOK_UPS = {"find_artifacts": 1, "find_contents": 1, "save_sources": 1, "associate": 1}
INSERTS = {"BEGIN": 1, "insert_contents": 1, "link_artifacts": 1, "COMMIT": 1}


def said(tally: Tally) -> dict[str, int]:
    """Return the statements, without preparations, which happen once a connection."""
    return {name: count for name, count in tally.statements.items() if name != PREPARING}


def test_wire_counts_what_a_driver_does(postgres: str) -> None:
    with wired(postgres) as wire:
        with psycopg.connect(wire.conninfo) as connection:
            for number in range(10):
                connection.execute("SELECT %s::int", (number,), prepare=True)
            with connection.cursor().copy("COPY (SELECT 1) TO STDOUT") as copy:
                assert list(copy) == [b"1\n"]

    assert wire.tally.statements == {PREPARING: 1, "BEGIN": 1, "SELECT": 10, "COPY": 1, "COMMIT": 1}
    assert wire.tally.round_trips == 13


def test_a_call_of_the_catalog_takes_one_round_trip_for_500_rows(postgres: str) -> None:
    with wired(postgres) as wire:
        found = count_calls(wire)

    transactions = {"save contents": 4, "find artifacts, fill links": 1 + 3}
    assert found == dict.fromkeys(found, 1) | transactions


def test_a_batch_of_500_takes_at_most_ten_round_trips_first_and_six_again(
    postgres: str, tmp_path: Path
) -> None:
    found = count_waves(postgres, tmp_path)

    assert {name: said(counted.batch) for name, counted in found.items()} == {
        "first sync, bytes local": {**LOOK_UPS, **INSERTS, "save_artifacts": 1},
        "full second sync, bytes local": LOOK_UPS,
        "first sync, bytes deferred": {**LOOK_UPS, **INSERTS},
        "full second sync, bytes deferred": LOOK_UPS,
    }
    assert [counted.batch.round_trips for counted in found.values()] == [9, 4, 8, 4]
    # What a sync takes besides: the lock, the version, its checks, and, for its root, one for all
    # units that are new.
    assert [counted.besides for counted in found.values()] == [17, 11, 17, 11]


def test_a_whole_sync_fetches_each_body_once_and_encodes_each_unit_three_times(
    postgres: str, tmp_path: Path
) -> None:
    units = 200

    found = count_whole(postgres, tmp_path, units)

    manifest = (tmp_path / "upstream" / "PULP_MANIFEST").stat().st_size
    seen = {name: (f.requests, f.bytes, f.encoded) for name, f in found.items()}
    # Encoded are the natural key, the repository key and the fields of a new unit, and ten to
    # twelve records a sync, one or two of them to see that what is said of a version can be
    # recorded.
    assert seen == {
        "first sync, immediate": (1 + units, manifest + units * SIZE, 3 * units + 12),
        "full second sync, immediate": (1, manifest, units + 10),
        "first sync, on_demand": (1, manifest, 3 * units + 12),
        "full second sync, on_demand": (1, manifest, units + 10),
    }
