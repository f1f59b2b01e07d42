"""TLS as the remote asks for it, and proxies."""

from pathlib import Path
from typing import Any

import pytest

from flowsync.errors import (
    CertificateError,
    DeclarationError,
    StatusError,
    TransferError,
    UnreachableError,
)
from tests.integration.download.conftest import Client
from tests.upstream.certificates import Certificates
from tests.upstream.proxy import Proxy
from tests.upstream.server import Upstream


async def test_server_that_nobody_vouches_for_is_refused_at_once(
    client: Client, certificates: Certificates
) -> None:
    """Validation is on unless it is switched off."""
    with (
        Upstream(certificates.server()) as secure,
        pytest.raises(CertificateError, match="certificate refused"),
    ):
        await client.get(secure.put("/a", b"body"))


async def test_server_of_another_name_is_refused(
    client: Client, certificates: Certificates
) -> None:
    client.fields["ca_cert"] = certificates.ca_pem
    with (
        Upstream(certificates.server()) as secure,
        pytest.raises(CertificateError, match=r"127\.0\.0\.1"),
    ):
        await client.get(f"https://127.0.0.1:{secure.port}/a")


@pytest.mark.parametrize("own_ca", [True, False])
async def test_own_ca_or_no_validation_lets_through(
    client: Client, certificates: Certificates, own_ca: bool
) -> None:
    client.fields |= {"ca_cert": certificates.ca_pem} if own_ca else {"tls_validation": False}
    with Upstream(certificates.server()) as secure:
        assert await client.get(secure.put("/a", b"body")) == b"body"


async def test_client_certificate_is_shown_where_it_is_required(
    client: Client, certificates: Certificates
) -> None:
    cert, key = certificates.client("mirror")
    client.fields |= {"ca_cert": certificates.ca_pem, "max_retries": 0}
    with Upstream(certificates.server(client_required=True)) as secure:
        url = secure.put("/a", b"body")
        with pytest.raises(TransferError):
            await client.get(url)

        client.fields |= {"client_cert": cert, "client_key": key}

        assert await client.get(url) == b"body"
        assert secure.seen[-1].client == "mirror"


async def test_connections_of_one_identity_are_not_used_by_another(
    client: Client, certificates: Certificates
) -> None:
    with Upstream(certificates.server(client_required=True)) as secure:
        url = secure.put("/a", b"body")
        for name in ("first", "second"):
            cert, key = certificates.client(name)
            client.fields |= {
                "ca_cert": certificates.ca_pem,
                "client_cert": cert,
                "client_key": key,
            }
            await client.get(url)

        assert [seen.client for seen in secure.seen] == ["first", "second"]


async def test_unusable_certificate_is_an_error_of_the_declaration(client: Client) -> None:
    client.fields["ca_cert"] = "/nowhere/ca.pem"

    with pytest.raises(DeclarationError, match="ca_cert cannot be used"):
        await client.get("https://localhost/a")


async def test_certificates_renewed_at_the_same_path_are_seen_at_once(
    client: Client, certificates: Certificates, tmp_path: Path
) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    client.fields |= {
        "ca_cert": certificates.ca_pem,
        "client_cert": str(cert),
        "client_key": str(key),
    }
    with Upstream(certificates.server(client_required=True)) as secure:
        url = secure.put("/a", b"body")
        for name in ("first", "second"):
            texts = certificates.client(name)
            for file, text in zip((cert, key), texts, strict=True):
                fresh = file.with_suffix(".new")
                fresh.write_text(text)
                fresh.replace(file)
                if name == "second" and file is cert:
                    # Half renewed: the new certificate does not go with the old key.
                    await client.get(url)
            await client.get(url)

        assert [seen.client for seen in secure.seen] == ["first", "first", "second"]


async def test_renewed_ca_is_seen_at_once(
    client: Client, certificates: Certificates, tmp_path: Path
) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_text(Certificates().ca_pem)
    client.fields["ca_cert"] = str(ca)
    with Upstream(certificates.server()) as secure:
        url = secure.put("/a", b"body")
        with pytest.raises(CertificateError):
            await client.get(url)

        ca.write_text(certificates.ca_pem)

        assert await client.get(url) == b"body"


PROXY_USER = {"proxy_username": "aladdin", "proxy_password": "opensesame"}
PROXY_HEADER = "Basic YWxhZGRpbjpvcGVuc2VzYW1l"


@pytest.mark.parametrize("user", [{}, PROXY_USER])
async def test_plain_requests_go_through_the_proxy(
    client: Client, upstream: Upstream, user: dict[str, Any]
) -> None:
    with Proxy(PROXY_HEADER if user else None) as proxy:
        client.fields |= {"proxy_url": proxy.url, **user}
        url = upstream.put("/a", b"body")

        assert [await client.get(url), await client.get(url)] == [b"body", b"body"]

        assert proxy.seen[0].target == url
    assert all("proxy-authorization" not in seen.headers for seen in upstream.seen)


@pytest.mark.parametrize("user", [{}, PROXY_USER])
async def test_secure_requests_go_through_a_tunnel(
    client: Client, certificates: Certificates, user: dict[str, Any]
) -> None:
    with Proxy(PROXY_HEADER if user else None) as proxy, Upstream(certificates.server()) as secure:
        client.fields |= {"proxy_url": proxy.url, "ca_cert": certificates.ca_pem, **user}
        url = secure.put("/a", b"body")

        assert await client.get(url) == b"body"

        assert (proxy.seen[0].method, proxy.seen[0].target) == (
            "CONNECT",
            f"localhost:{secure.port}",
        )
    assert "proxy-authorization" not in secure.seen[0].headers


@pytest.mark.parametrize("secure", [False, True])
async def test_proxy_that_refuses_us_ends_the_transfer_at_once(
    client: Client, upstream: Upstream, certificates: Certificates, secure: bool
) -> None:
    with Proxy("other") as proxy, Upstream(certificates.server()) as encrypted:
        client.fields |= {"proxy_url": proxy.url, **PROXY_USER}

        with pytest.raises(StatusError, match="407") as refused:
            await client.get((encrypted if secure else upstream).url("/a?t=secret"))

        assert len(proxy.seen) == 1
    assert refused.value.status == 407
    assert "secret" not in str(refused.value)


async def test_unreachable_proxy_is_named(client: Client, upstream: Upstream) -> None:
    client.fields |= {"proxy_url": "http://127.0.0.1:1", "max_retries": 0}

    with pytest.raises(UnreachableError, match="proxy"):
        await client.get(upstream.put("/a", b"body"))


async def test_environment_is_asked_where_the_remote_says_so(
    client: Client, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with Proxy() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        url = upstream.put("/a", b"body")

        await client.get(url)
        assert proxy.seen == []

        client.fields["trust_env"] = True
        await client.get(url)
        assert len(proxy.seen) == 1
