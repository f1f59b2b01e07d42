"""TLS contexts say what the remote says."""

import ssl
from pathlib import Path
from typing import Any

import pytest

from flowsync.download.http.connections import context
from flowsync.errors import DeclarationError
from flowsync.model.remote import Remote
from tests.upstream.certificates import Certificates


def remote_with(**fields: Any) -> Remote:
    return Remote(name="r", url="https://host/", **fields)


def test_nothing_special_needs_no_context() -> None:
    assert context(remote_with()) is None


def test_no_validation_checks_neither_chain_nor_name() -> None:
    made = context(remote_with(tls_validation=False))

    assert made is not None
    assert (made.verify_mode, made.check_hostname) == (ssl.CERT_NONE, False)


def test_own_ca_is_trusted_besides_the_systems(certificates: Certificates, tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text(certificates.ca_pem)
    system = len(ssl.create_default_context().get_ca_certs())

    from_text = context(remote_with(ca_cert=certificates.ca_pem))
    from_file = context(remote_with(ca_cert=str(file)))

    assert from_text is not None
    assert from_file is not None
    assert len(from_text.get_ca_certs()) == len(from_file.get_ca_certs()) == system + 1
    assert from_text.verify_mode is ssl.CERT_REQUIRED
    assert from_text.check_hostname


def test_client_certificate_is_loaded_from_text_and_from_files(
    certificates: Certificates, tmp_path: Path
) -> None:
    cert, key = certificates.client("mirror")
    (tmp_path / "both.pem").write_text(cert + key)

    assert context(remote_with(client_cert=cert, client_key=key)) is not None
    assert context(remote_with(client_cert=str(tmp_path / "both.pem"))) is not None


@pytest.mark.parametrize(
    "fields",
    [
        {"ca_cert": "/nowhere/ca.pem"},
        {"ca_cert": "-----BEGIN CERTIFICATE-----\nsecret\n-----END CERTIFICATE-----\n"},
        {"client_cert": "/nowhere/cert.pem"},
        {"client_cert": "-----BEGIN CERTIFICATE-----\n", "client_key": "-----BEGIN secret"},
    ],
)
def test_unusable_certificate_is_an_error_that_names_the_remote(fields: dict[str, str]) -> None:
    with pytest.raises(DeclarationError, match=r"remote .r.: c.* cannot be used") as refused:
        context(remote_with(**fields))

    assert "secret" not in str(refused.value)


def test_locked_key_is_an_error_and_no_question(certificates: Certificates) -> None:
    cert, _ = certificates.client("mirror")

    with pytest.raises(DeclarationError, match="locked by a pass phrase"):
        context(remote_with(client_cert=cert, client_key=certificates.locked_key()))


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_comments_of_any_language_do_no_harm(
    certificates: Certificates, tmp_path: Path, mark: str
) -> None:
    cert, key = certificates.client("mirror")
    noted = f"{mark}# Ausgestellt für Übungen\r\n{certificates.ca_pem}\n# Ende – 終わり\n"
    (tmp_path / "ca.pem").write_text(noted)

    for given in (noted, str(tmp_path / "ca.pem")):
        made = context(remote_with(ca_cert=given))
        assert made is not None
        assert len(made.get_ca_certs()) == len(ssl.create_default_context().get_ca_certs()) + 1
    assert context(remote_with(client_cert=f"# é\n{cert}", client_key=f"# é\n{key}")) is not None


def test_error_names_the_file(certificates: Certificates, tmp_path: Path) -> None:
    cert, _ = certificates.client("mirror")
    _, other = certificates.client("other")
    empty, file = tmp_path / "empty.pem", tmp_path / "key.pem"
    empty.write_text("nothing\n")
    file.write_text(other)

    for fields, named in [
        ({"ca_cert": "/nowhere/ca.pem"}, "'/nowhere/ca.pem': No such file"),
        ({"ca_cert": str(empty)}, f"'{empty}': "),
        ({"ca_cert": str(tmp_path)}, f"'{tmp_path}': Is a directory"),
        ({"client_cert": cert, "client_key": "/nowhere/key"}, "used: '/nowhere/key': No such file"),
        ({"client_cert": cert, "client_key": str(file)}, f"'{file}': .*MISMATCH"),
    ]:
        with pytest.raises(DeclarationError, match=named):
            context(remote_with(**fields))


def test_key_without_its_marks_is_not_shown(certificates: Certificates) -> None:
    cert, key = certificates.client("mirror")
    bare = "".join(key.splitlines()[1:-1])

    with pytest.raises(DeclarationError, match="neither PEM text nor a file") as refused:
        context(remote_with(client_cert=cert, client_key=bare))

    assert bare[:40] not in f"{refused.value} {refused.value.__cause__!r}"
