from bench.counts.frontend import PREPARING, SESSION, Frontend, Tally, label
from flowsync.catalog.postgres.database import statement


def message(kind: bytes, body: bytes = b"") -> bytes:
    return kind + (4 + len(body)).to_bytes(4, "big") + body


START = message(b"", b"\0\3\0\0user\0me\0\0")
PARSE = message(b"P", b"one\0SELECT 1\0\0\0")
BIND = message(b"B", b"\0one\0\0\0\0\0\0\0")
EXECUTE = message(b"E", b"\0\0\0\0\0")
SYNC = message(b"S")


def tally(*data: bytes) -> Tally:
    found = Tally()
    frontend = Frontend(found)
    for piece in data:
        frontend.feed(piece)
    return found


def test_an_execution_is_counted_and_its_preparation_is_counted_apart() -> None:
    found = tally(START + PARSE + SYNC + BIND + EXECUTE + SYNC)

    assert found.statements == {PREPARING: 1, "SELECT": 1}
    assert found.round_trips == 1


def test_a_statement_without_a_name_takes_one_round_trip() -> None:
    parse = message(b"P", b"\0SELECT 1\0\0\0")
    bind = message(b"B", b"\0\0\0\0\0\0\0\0")

    found = tally(START + parse + bind + EXECUTE + SYNC)

    assert found.statements["SELECT"] == 1
    assert found.round_trips == 1


def test_several_executions_before_one_sync_take_one_round_trip() -> None:
    found = tally(START + PARSE + SYNC, BIND + EXECUTE + BIND + EXECUTE + SYNC)

    assert found.statements["SELECT"] == 2
    assert found.round_trips == 1


def test_messages_may_come_in_any_pieces() -> None:
    whole = START + PARSE + SYNC + BIND + EXECUTE + SYNC

    found = tally(*(whole[at : at + 1] for at in range(len(whole))))

    assert found.statements == {PREPARING: 1, "SELECT": 1}
    assert found.round_trips == 1


def test_simple_queries_and_the_end_of_a_copy_are_waited_for() -> None:
    copy = message(b"Q", b"COPY t FROM STDIN\0") + message(b"d", b"1\n") + message(b"c")

    found = tally(START + message(b"Q", b"BEGIN\0") + copy + message(b"Q", b"commit\0"))

    assert found.statements == {"BEGIN": 1, "COPY": 1, "COMMIT": 1}
    assert found.round_trips == 4


def test_settings_of_a_session_are_counted_apart() -> None:
    found = tally(START + message(b"Q", b"SET enable_seqscan = off\0"))

    assert found.statements == {SESSION: 1}
    assert found.round_trips == 0


def test_a_statement_of_the_catalog_goes_by_its_name_as_the_driver_sends_it() -> None:
    sent = statement("find_repository").replace(b"%(name)s", b"$1")

    assert b"$1" in sent
    assert label(sent) == "find_repository"


def test_what_was_said_since_a_copy_is_the_difference() -> None:
    found = Tally()
    frontend = Frontend(found)
    frontend.feed(START + message(b"Q", b"BEGIN\0"))
    before = found.copy()

    frontend.feed(message(b"Q", b"COMMIT\0"))

    assert found.since(before).statements == {"COMMIT": 1}
    assert found.since(before).round_trips == 1
