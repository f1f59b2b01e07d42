"""What a head says is text that every part may keep."""

from flowsync.download.http.answer_protocol import read_head


def test_names_are_in_lower_case_and_values_printable() -> None:
    head = read_head(
        200, "OK", [("Server", "a\x07\x00b"), ("X\udcf3", "\udcf3\tc"), ("Y", "\u202e")]
    )

    assert head.headers == {"server": "a\ufffd\ufffdb", "xó": "ó c", "y": "\ufffd"}


def test_values_that_are_said_twice_count_once_and_others_are_joined() -> None:
    head = read_head(200, "", [("Vary", "a"), ("vary", "b"), ("VARY", "a"), ("ETag", '"e"')] * 2)

    assert head.headers == {"vary": "a, b", "etag": '"e"'}


def test_redirect_is_kept_byte_for_byte_and_leads_to_one_place() -> None:
    once = read_head(302, "", [("Location", "/\udce9")])
    twice = read_head(302, "", [("Location", "/\udce9"), ("location", "/\udce9")])
    torn = read_head(302, "", [("Location", "/a"), ("Location", "/b")])

    assert (once.location, twice.location, torn.location) == ("/\udce9", "/\udce9", None)
    assert once.headers["location"] == "/é"


def test_phrase_is_clean_and_short() -> None:
    assert read_head(404, "No se encontr\udcf3\x1b[31m", []).reason == "No se encontró\ufffd[31m"
    assert len(read_head(404, "x" * 60_000, []).reason) == 200
