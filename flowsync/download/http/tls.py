"""TLS contexts from what a remote says: own CA, client certificate, or no validation at all.

Whatever is set, the system's CAs are trusted too, because a proxy that inspects TLS and the
upstream behind it have different ones. A key that is locked by a pass phrase is an error and never
a question on the terminal. Of PEM text only what stands between the marks counts: files of CAs have
comments in every language.
"""

import os
import re
import ssl
import tempfile
from collections.abc import Sequence
from typing import Final

from flowsync.errors import DeclarationError
from flowsync.errors.printable import printable
from flowsync.model.remote import Remote

_PEM: Final = "-----BEGIN"
_BLOCK: Final = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)
_LONGEST_NAME: Final = 100
"""Characters of the name of a missing file in an error. Something longer may be a key without its
marks.
"""

Stamp = tuple[tuple[int, int, int] | None, ...]
"""What tells the state of some files from any other: inode, size and date of each, `None` for one
that is not there.
"""


def files(remote: Remote) -> tuple[str, ...]:
    """Return the files that the context of a remote is made from."""
    given = (remote.ca_cert, remote.client_cert, remote.client_key)
    return tuple(path for path in given if path and _PEM not in path)


def stamp(paths: Sequence[str]) -> Stamp:
    """Return the stamp of the files as they are now."""
    return tuple(map(_state, paths))


def _state(path: str) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def context(remote: Remote) -> ssl.SSLContext | None:
    """Return the context for a remote, or `None` if it asks for nothing special. Reads files: some
    20 ms.

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
            made.load_verify_locations(cadata=_blocks(ca))
        else:
            made.load_verify_locations(cafile=_readable(ca))
    except (OSError, ValueError) as error:
        raise _unusable(remote, "ca_cert", (ca,), error) from error


def _identify(made: ssl.SSLContext, remote: str, cert: str, key: str | None) -> None:
    try:
        # OpenSSL reads certificate and key from files only. The folder is private and gone when
        # they are loaded.
        with tempfile.TemporaryDirectory(prefix="flowsync-") as folder:
            made.load_cert_chain(
                _as_file(folder, "cert", cert),
                None if key is None else _as_file(folder, "key", key),
                password=_no_password,
            )
    except (OSError, ValueError) as error:
        raise _unusable(remote, "client_cert and client_key", (cert, key), error) from error


def _unusable(
    remote: str, fields: str, given: Sequence[str | None], error: Exception
) -> DeclarationError:
    paths = [one for one in given if one is not None and _PEM not in one]
    found = getattr(error, "filename", None)
    # OpenSSL does not say which of the files it means.
    named = "".join(f"{path!r}: " for path in ([found] if found in paths else paths))
    reason = getattr(error, "strerror", None) or str(error)
    if isinstance(error, _NoFileError):
        named = ""
    return DeclarationError(
        f"remote {remote!r}: {fields} cannot be used: {named}{printable(reason)}"
    )


class _NoFileError(ValueError):
    """What was given is neither PEM text nor the name of a file, and perhaps a key without its
    marks.
    """


def _readable(path: str) -> str:
    if len(path) > _LONGEST_NAME and not os.path.exists(path):
        raise _NoFileError("neither PEM text nor a file")
    # OpenSSL does not say which file it could not open, or why.
    with open(path, "rb"):
        return path


def _blocks(pem: str) -> str:
    blocks = "\n".join(found[0] for found in _BLOCK.finditer(pem))
    if not blocks.isascii():
        raise ValueError("the PEM text is damaged")
    return f"{blocks or pem.partition(_PEM)[1]}\n"


def _as_file(folder: str, name: str, pem: str) -> str:
    if _PEM not in pem:
        return _readable(pem)
    path = f"{folder}/{name}"
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(_blocks(pem).encode())
    return path


def _no_password() -> str:
    raise ValueError("the key is locked by a pass phrase")
