"""TLS contexts from what a remote says: own CA, client certificate, or no validation at all.

Whatever is set, the system's CAs are trusted too, because a proxy that inspects TLS and the upstream behind it have different ones.
A key that is locked by a pass phrase is an error and never a question on the terminal.
"""

import os
import ssl
import tempfile
from typing import Final

from flowsync.model.errors import DeclarationError
from flowsync.model.remote import Remote

_PEM: Final = "-----BEGIN"


def context(remote: Remote) -> ssl.SSLContext | None:
    """Return the context for a remote, or `None` if it asks for nothing special. Reads files: some 20 ms.

    Raise `DeclarationError` when a certificate or key cannot be used; no secret is in its text.
    """
    wants = (remote.ca_cert, remote.client_cert, remote.client_key)
    if remote.tls_validation and not any(wants):
        return None
    made = ssl.create_default_context()
    if not remote.tls_validation:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    if remote.ca_cert:
        _trust(made, remote.name, remote.ca_cert)
    if remote.client_cert:
        _identify(made, remote.name, remote.client_cert, remote.client_key)
    return made


def _trust(made: ssl.SSLContext, remote: str, ca: str) -> None:
    try:
        if _PEM in ca:
            made.load_verify_locations(cadata=ca)
        else:
            made.load_verify_locations(cafile=ca)
    except (OSError, ValueError) as error:
        raise DeclarationError(f"remote {remote!r}: ca_cert cannot be used: {error}") from error


def _identify(made: ssl.SSLContext, remote: str, cert: str, key: str | None) -> None:
    try:
        # OpenSSL reads certificate and key from files only. The folder is private and gone when they are loaded.
        with tempfile.TemporaryDirectory(prefix="flowsync-") as folder:
            made.load_cert_chain(
                _as_file(folder, "cert", cert),
                None if key is None else _as_file(folder, "key", key),
                password=_no_password,
            )
    except (OSError, ValueError) as error:
        raise DeclarationError(
            f"remote {remote!r}: client_cert and client_key cannot be used: {error}"
        ) from error


def _as_file(folder: str, name: str, pem: str) -> str:
    if _PEM not in pem:
        return pem
    path = f"{folder}/{name}"
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(pem)
    return path


def _no_password() -> str:
    raise ValueError("the key is locked by a pass phrase")
