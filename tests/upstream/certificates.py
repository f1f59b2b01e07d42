"""Certificates for upstreams over TLS: a CA of the test run, a server it vouches for, and
clients.
"""

import ssl

import trustme
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec


class Certificates:
    """One CA. `ca_pem` is what a remote is told to trust."""

    def __init__(self) -> None:
        self._ca = trustme.CA()
        self._server = self._ca.issue_cert("localhost")
        self.ca_pem = self._ca.cert_pem.bytes().decode()

    def server(self, *, client_required: bool = False) -> ssl.SSLContext:
        """Return the context of a server named localhost, that may ask for a certificate of this
        CA.
        """
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._server.configure_cert(context)
        if client_required:
            self._ca.configure_trust(context)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def client(self, name: str) -> tuple[str, str]:
        """Return certificate and key of a client, both PEM."""
        issued = self._ca.issue_cert(f"{name}@example.test", common_name=name)
        certificate = "".join(part.bytes().decode() for part in issued.cert_chain_pems)
        return certificate, issued.private_key_pem.bytes().decode()

    def locked_key(self) -> str:
        """Return a private key that asks for a pass phrase."""
        key = ec.generate_private_key(ec.SECP256R1())
        locked = serialization.BestAvailableEncryption(b"pass phrase")
        return key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked
        ).decode()
