"""Which form of a page a client prefers, and whether it takes gzip."""

import pytest

from flowsync.serve.http.answer import best_type, takes_gzip

HTML, V1_HTML, V1_JSON = "text/html", "application/vnd.x.v1+html", "application/vnd.x.v1+json"


@pytest.mark.parametrize(
    ("accept", "best"),
    [
        (None, HTML),
        ("", HTML),
        ("*/*", HTML),
        ("text/html", HTML),
        (f"{V1_JSON}, {V1_HTML};q=0.2, text/html;q=0.01", V1_JSON),
        (f"{V1_JSON};q=0.1, {V1_HTML} ; Q=0.2", V1_HTML),
        ("application/*", V1_HTML),
        (f"application/*;q=0.5, {V1_HTML};q=0", V1_JSON),
        (f"{V1_JSON};q=0.3, {V1_JSON};q=0.9, */*;q=0.5", V1_JSON),
        ("APPLICATION/VND.X.V1+JSON", V1_JSON),
        ("image/png", HTML),
        (f"text/html;q=nan, {V1_JSON};q=0.001", V1_JSON),
        (f"text/html;q=7, {V1_JSON};q=x, {V1_HTML};q=0.1", V1_HTML),
        (";;,,;q=1", HTML),
        (f"{V1_JSON};charset=utf-8;q=0.9, text/html;q=0.8", V1_JSON),
    ],
)
def test_the_form_that_a_client_likes_best(accept: str | None, best: str) -> None:
    assert best_type(accept, (HTML, V1_HTML, V1_JSON)) == best


@pytest.mark.parametrize(
    ("accept", "takes"),
    [
        (None, False),
        ("", False),
        ("gzip", True),
        ("br, GZIP;q=0.5", True),
        ("x-gzip", True),
        ("*", True),
        ("gzip;q=0, *", False),
        ("br", False),
        ("identity, gzip;q=0", False),
        ("gzip;q=many", False),
    ],
)
def test_who_takes_gzip(accept: str | None, takes: bool) -> None:
    assert takes_gzip(accept) is takes


def test_a_long_list_is_read_in_part() -> None:
    many = ",".join(f"a/{number}" for number in range(10_000))

    assert best_type(f"{many},{V1_JSON}", (HTML, V1_JSON)) == HTML
