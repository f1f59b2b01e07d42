"""Redirects are followed as far as is safe."""

from urllib.parse import urljoin

import pytest

from flowsync.errors import RedirectError, StatusError
from flowsync.model.remote import Remote
from tests.integration.download.conftest import Client
from tests.upstream.behaviours import Cut, Redirect, Status
from tests.upstream.certificates import Certificates
from tests.upstream.server import Upstream


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
async def test_redirect_is_followed(client: Client, upstream: Upstream, code: int) -> None:
    upstream.put("/there", b"body")
    upstream.always("/here", Redirect("there?sig=a%2Bb", code))

    assert await client.get(upstream.url("/here")) == b"body"
    assert upstream.seen[1].target == "/there?sig=a%2Bb"


async def test_ten_redirects_are_followed_and_eleven_are_not(
    client: Client, upstream: Upstream
) -> None:
    upstream.put("/0", b"body")
    for number in range(1, 12):
        upstream.always(f"/{number}", Redirect(f"/{number - 1}"))

    assert await client.get(upstream.url("/10")) == b"body"
    with pytest.raises(RedirectError, match=r"/11: redirects more than 10 times"):
        await client.get(upstream.url("/11"))


async def test_redirect_without_target_and_to_another_scheme_is_refused_at_once(
    client: Client, upstream: Upstream
) -> None:
    upstream.always("/nowhere", Status(302))
    upstream.always("/file", Redirect("file:///etc/passwd"))

    with pytest.raises(RedirectError, match="to nowhere"):
        await client.get(upstream.url("/nowhere"))
    with pytest.raises(RedirectError, match="to another scheme"):
        await client.get(upstream.url("/file"))

    assert upstream.count() == 2


async def test_redirect_from_https_to_http_is_refused(
    client: Client, upstream: Upstream, certificates: Certificates
) -> None:
    with Upstream(certificates.server()) as secure:
        client.fields |= {"url": secure.url(), "ca_cert": certificates.ca_pem}
        secure.always("/a", Redirect(upstream.put("/a", b"body")))

        with pytest.raises(RedirectError, match="from https to http"):
            await client.get(secure.url("/a"))

    assert upstream.count() == 0


async def test_credentials_and_own_headers_stay_behind(client: Client, upstream: Upstream) -> None:
    client.fields |= {"token": "secret", "headers": [("Private-Token", "secret")]}
    with Upstream() as cdn:
        upstream.always("/a", Redirect(cdn.put("/a", b"body")))

        body = await client.get(
            upstream.url("/a"), headers={"Cookie": "secret", "Accept": "text/html"}
        )

        there, here = cdn.seen[0].headers, upstream.seen[0].headers
    assert body == b"body"
    assert (here["authorization"], here["private-token"]) == ("Bearer secret", "secret")
    assert here["cookie"] == "secret"
    assert "secret" not in str(there)
    assert there["accept"] == "text/html"


async def test_url_on_another_host_gets_no_credentials(client: Client, upstream: Upstream) -> None:
    client.fields |= {"token": "secret", "headers": [("Private-Token", "secret")]}
    with Upstream() as other:
        await client.get(other.put("/a", b"body"))

        assert "secret" not in str(other.seen[0].headers)


async def test_broken_body_behind_a_redirect_is_continued(
    client: Client, upstream: Upstream, body: bytes
) -> None:
    upstream.always("/here", Redirect("/there"))
    upstream.put("/there", body)
    upstream.script("/there", Cut(100_000))

    assert await client.get(upstream.url("/here")) == body
    assert upstream.sent("/there") == 300_000


async def test_error_behind_a_redirect_names_what_was_asked_for(
    client: Client, upstream: Upstream
) -> None:
    upstream.always("/here", Redirect("/there?sig=secret"))

    with pytest.raises(StatusError, match=r"/here: status 404 Not Found"):
        await client.get(upstream.url("/here"))


async def test_redirect_holds_one_slot_at_a_time(client: Client, upstream: Upstream) -> None:
    client.fields["download_concurrency"] = 1
    upstream.put("/there", b"body")
    upstream.always("/here", Redirect("/there"))

    assert await client.get(upstream.url("/here")) == b"body"


async def test_url_that_is_told_is_where_the_bytes_came_from(
    client: Client, upstream: Upstream
) -> None:
    with Upstream() as other:
        there = other.put("/there/index", b'<a href="a.whl">')
        upstream.always("/here/", Redirect(f"{there}?sig=secret#part"))

        _, received = await client.receive(upstream.url("/here/"))
        fetched = await client.fetcher.download(client.request(upstream.url("/here/")))

    assert received.url == fetched.url == f"{there}?sig=***"
    assert urljoin(fetched.url, "a.whl") == other.url("/there/a.whl")


async def test_url_that_was_asked_for_is_told_as_it_is(client: Client, upstream: Upstream) -> None:
    url = upstream.put("/index", b"") + "?sig=mine"

    _, received = await client.receive(url)

    assert received.url == url


async def test_request_that_demands_the_same_party_follows_to_no_other(
    client: Client, upstream: Upstream
) -> None:
    with Upstream() as other:
        upstream.always("/away", Redirect(other.put("/index", b"evil")))
        upstream.always("/around", Redirect("/away"))
        upstream.always("/within", Redirect("/index"))
        upstream.put("/index", b"good")

        assert await client.get(upstream.url("/within"), same_origin=True) == b"good"
        for path in ("/away", "/around"):
            with pytest.raises(RedirectError, match="to another host, scheme or port"):
                await client.get(upstream.url(path), same_origin=True)

        assert other.count() == 0


async def test_downloader_of_a_remote_can_demand_the_same_party(
    client: Client, upstream: Upstream
) -> None:
    with Upstream() as other:
        upstream.always("/away", Redirect(other.put("/index", b"evil")))
        remote = Remote(**client.fields)
        remote.bind(client.fetcher)

        with pytest.raises(RedirectError):
            await remote.get_downloader(upstream.url("/away"), same_origin=True).run()
