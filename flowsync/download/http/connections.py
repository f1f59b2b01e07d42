"""Requests without a body over the HTTP client's pooled connections, without its session.

1. The client's connector gives the connection: it resolves, connects, greets proxies, does TLS, and
   keeps what is free. Its protocol and its parser take the answer. What is left out is the session,
   with its objects for requests and answers, redirects, cookies and middlewares, which are not
   used: with retries, slots and sink a GET of 4 KiB takes 0.92 of the time of a bare one through
   the session (`bench/download/bench_http.py`).
2. A reply holds its connection until it is released; one whose body was read to its end, here or
   elsewhere, goes back to the pool, any other is closed.
3. What takes the answers is `protocol`, given to the connector in place of the client's own.
4. A request whose connection breaks before the first byte of an answer is sent once more at once:
   the server may have closed a free connection in that very moment (RFC 9112, 9.3.1).
5. Header lines and request targets are checked before they are written: none can hold what would
   begin another line.

Decisions: docs/decisions/0011.

Also here: TLS contexts, and which proxy a request goes through. Both decide which connection a
request may take.
"""

import asyncio
import os
import re
import ssl
import tempfile
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from ssl import SSLContext
from typing import Final, NamedTuple
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import msgspec
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ConnectionKey
from multidict import CIMultiDict
from yarl import URL

from flowsync.download.http.answer_protocol import AnswerProtocol, Head, read_head
from flowsync.download.http.redirects import basic
from flowsync.download.http.socket_tap import Tap
from flowsync.download.transfer.response import content_length
from flowsync.errors import DeclarationError, UnsupportedUrlError
from flowsync.errors.error_tree import printable
from flowsync.model.remote import Method, Remote
from flowsync.model.url import Origin, origin, redact

_READ_BUFFER: Final = 1 << 18
_PARTIES: Final = 1024
"""How many parties' connection settings are kept: a bound for daemons that follow redirects to ever
new hosts.
"""

_BROKEN_EARLY: Final = (
    aiohttp.ClientOSError,
    aiohttp.ServerDisconnectedError,
    aiohttp.ClientConnectionResetError,
)


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Whom a request goes to, and how to connect. `url` is in wire form; `proxy` is the proxy's
    URL, `proxy_headers` greet it where it tunnels.
    """

    url: str
    origin: Origin
    ssl: SSLContext | bool
    method: Method = "GET"
    proxy: str | None = None
    proxy_headers: Mapping[str, str] | None = None


class _Party(NamedTuple):
    """Whom to connect to, in the client's words. `key` is that of its free connections, or `None`
    behind a proxy.
    """

    request: aiohttp.ClientRequest
    host: str
    key: ConnectionKey | None


class Reply:
    """An answer whose body is still to be read from `content`, or past it after `divert`.

    `length` is how many bytes the body has, or `None` where its end shows only as it comes.
    """

    __slots__ = ("_connection", "content", "head", "length")

    def __init__(
        self,
        connection: aiohttp.connector.Connection,
        message: aiohttp.http.RawResponseMessage,
        content: aiohttp.StreamReader,
    ) -> None:
        self.head: Head = read_head(message.code, message.reason, message.headers.items())
        self.content = content
        self.length = None if message.chunked else content_length(self.head.headers)
        self._connection = connection

    def divert(self) -> tuple[bytes, Tap] | None:
        """Take the rest of the body, whose `length` is known, away from the client: return the
        bytes that it has read, and a tap for those to come.

        Return `None` where that cannot be: the connection is encrypted or broken, or the body is
        already there.
        """
        content, protocol = self.content, self._connection.protocol
        transport = self._connection.transport
        if (
            self.length is None
            or protocol is None
            or transport is None
            or transport.is_closing()
            or transport.get_extra_info("sslcontext") is not None
            or content.is_eof()
            or content.exception() is not None
        ):
            return None
        # Without a pause between: nothing may arrive at the client after its bytes were counted.
        arrived = b"".join(iter(content.read_nowait, b""))
        transport.pause_reading()
        protocol.read_timeout = None
        protocol.start_timeout()
        descriptor = transport.get_extra_info("socket").fileno()
        return arrived, Tap(descriptor, self.length - content.total_bytes)

    def read_elsewhere(self) -> None:
        """Tell the client that its diverted body came to its end, so that the connection can be
        used again.
        """
        self.content.feed_eof()

    def release(self) -> None:
        """Let go of the connection; a second call does nothing."""
        self._connection.release()


class Connections:
    """Sends requests over the connections of one connector. Belongs to its loop."""

    def __init__(self, connector: aiohttp.TCPConnector) -> None:
        self._connector = connector
        loop = asyncio.get_running_loop()
        connector._factory = partial(AnswerProtocol, loop)  # type: ignore[assignment]
        self._parties: dict[tuple[Origin, SSLContext | bool], _Party] = {}

    async def get(
        self,
        target: Target,
        headers: Sequence[tuple[str, str]],
        limits: aiohttp.ClientTimeout,
    ) -> Reply:
        """Send a request and return the reply when its head is there.

        Of `limits`, those on connecting and on waiting for bytes count. Raise what the client
        raises, which may be anything: its text may hold headers of the request.
        """
        try:
            return await self._exchange(target, headers, limits)
        except _BROKEN_EARLY:
            return await self._exchange(target, headers, limits)

    async def _exchange(
        self,
        target: Target,
        headers: Sequence[tuple[str, str]],
        limits: aiohttp.ClientTimeout,
    ) -> Reply:
        party = self._party(target)
        head = _head(target, party.host, headers)
        connection = None
        if party.key is not None:
            # What is free, without the way through `connect`, which makes the key anew.
            connection = await self._connector._get(party.key, [])
        if connection is None:
            try:
                connection = await self._connector.connect(party.request, [], limits)
            except TimeoutError as error:
                raise aiohttp.ConnectionTimeoutError("connecting took too long") from error
        try:
            protocol = _ask(connection, head, limits.sock_read, bodiless=target.method == "HEAD")
            message, content = await protocol.read()
            while 100 <= message.code < 200 and message.code != 101:
                message, content = await protocol.read()
            return Reply(connection, message, content)
        except BaseException:
            connection.close()
            raise

    def _party(self, target: Target) -> "_Party":
        """Return what tells the connector whom to connect to. Behind a proxy it is made anew,
        because the connector writes into it.
        """
        if target.proxy is not None:
            request = aiohttp.ClientRequest(
                "GET",
                URL(target.url, encoded=True),
                loop=asyncio.get_running_loop(),
                ssl=target.ssl,
                proxy=URL(target.proxy),
                proxy_headers=CIMultiDict(target.proxy_headers or {}),
            )
            return _Party(request, request.headers["Host"], None)
        key = target.origin, target.ssl
        party = self._parties.get(key)
        if party is None:
            if len(self._parties) >= _PARTIES:
                self._parties.clear()
            url = URL(target.url, encoded=True)
            request = aiohttp.ClientRequest(
                "GET", url, loop=asyncio.get_running_loop(), ssl=target.ssl
            )
            party = _Party(request, request.headers["Host"], request.connection_key)
            self._parties[key] = party
        return party


def _ask(
    connection: aiohttp.connector.Connection,
    head: bytes,
    stall_timeout: float | None,
    *,
    bodiless: bool,
) -> ResponseHandler:
    """Send a request, and return what its answer will come from."""
    protocol, transport = connection.protocol, connection.transport
    if protocol is None or transport is None or transport.is_closing():
        raise aiohttp.ClientConnectionResetError("the connection was closed before it was used")
    protocol.set_response_params(
        read_until_eof=True,
        skip_payload=bodiless,
        auto_decompress=False,
        read_timeout=stall_timeout,
        read_bufsize=_READ_BUFFER,
    )
    transport.write(head)
    protocol.start_timeout()
    return protocol


def _head(target: Target, host: str, headers: Sequence[tuple[str, str]]) -> bytes:
    lines = [f"{target.method} {_request_target(target)} HTTP/1.1", f"Host: {host}"]
    lines += [f"{name}: {value}" for name, value in headers]
    lines += ["", ""]
    text = "\r\n".join(lines)
    ends = len(lines) - 1
    if text.count("\n") != ends or text.count("\r") != ends or "\0" in text:
        raise DeclarationError(f"a header of a request to {host} holds a line end or a zero byte")
    head = _encoded(text)
    if head is None:
        raise DeclarationError(f"a header of a request to {host} is no text that can be sent")
    return head


def _encoded(text: str) -> bytes | None:
    # An error here would hold the whole text, credentials and all.
    try:
        return text.encode()
    except UnicodeEncodeError:
        return None


def _request_target(target: Target) -> str:
    if target.proxy is not None and target.origin[0] == "http":
        return target.url
    rest = target.url.partition("://")[2]
    authority, _, path = rest.partition("/")
    before, question, _ = authority.partition("?")
    if question:
        return f"/{rest[len(before) :]}"
    return f"/{path}"


# TLS contexts from what a remote says: own CA, client certificate, or no validation at all.
#
# Whatever is set, the system's CAs are trusted too, because a proxy that inspects TLS and the
# upstream behind it have different ones. A key that is locked by a pass phrase is an error and
# never a question on the terminal. Of PEM text only what stands between the marks counts: files of
# CAs have comments in every language.

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


# Which hosts the environment's proxy is not for: what `NO_PROXY` says. Pure.
#
# Entries are divided by commas or blanks; case does not count. An entry is `*` for all; a name for
# that host and all below it, with a dot before it or not; `*.name` for those below it only; an
# address, also in brackets; a network in CIDR form; each of the first four with `:port` for that
# port only. This is what curl, Go and Python's libraries take, where one of them takes it; an entry
# that cannot be understood excepts nothing.

_Address = IPv4Address | IPv6Address


class _Entry(NamedTuple):
    host: str
    port: int | None


def is_excepted(target: Origin, entries: str) -> bool:
    """Say whether requests to `target` go past the proxy by the `entries` of `NO_PROXY`."""
    _, host, port = target
    host = host.rstrip(".")
    address = _address(host)
    return any(
        entry.port in {None, port} and _covers(entry.host, host, address)
        for entry in _parse(entries)
    )


@lru_cache(maxsize=16)
def _parse(entries: str) -> tuple[_Entry, ...]:
    return tuple(_entry(text) for text in re.split(r"[,\s]+", entries.lower()) if text)


def _entry(text: str) -> _Entry:
    bracketed = re.fullmatch(r"\[([^\]]*)\](/\d+)?(?::(\d{1,5}))?", text)
    if bracketed is not None:
        port = bracketed[3]
        return _Entry(bracketed[1] + (bracketed[2] or ""), None if port is None else int(port))
    # More than one colon without brackets is an address of IPv6.
    host, colon, port = text.partition(":")
    if colon and port.isascii() and port.isdigit() and len(port) <= 5:
        return _Entry(_ascii(host), int(port))
    return _Entry(_ascii(text), None)


def _covers(entry: str, host: str, address: _Address | None) -> bool:
    if entry == "*":
        return True
    if "/" in entry:
        return address is not None and _in_network(entry, address)
    if address is not None:
        return _address(entry) == address
    if entry.startswith("*."):
        return host.endswith(entry[1:].rstrip("."))
    name = entry.strip(".")
    return bool(name) and (host == name or host.endswith(f".{name}"))


def _in_network(entry: str, address: _Address) -> bool:
    try:
        network = ip_network(entry, strict=False)
    except ValueError:
        return False
    return network.version == address.version and address in network


def _address(text: str) -> _Address | None:
    try:
        found = ip_address(text.strip("[]").partition("%")[0])
    except ValueError:
        return None
    return (isinstance(found, IPv6Address) and found.ipv4_mapped) or found


def _ascii(host: str) -> str:
    try:
        return host if host.isascii() else host.encode("idna").decode("ascii")
    except UnicodeError:
        return host


# Which proxy a request goes through: the remote's own, else, where the remote asks for it, the
# environment's.
#
# The reasons stand in docs/decisions/0011.


class Proxy(msgspec.Struct, frozen=True):
    """A proxy without credentials in its URL, and the `Proxy-Authorization` it gets."""

    url: str
    authorization: str | None


def choose(remote: Remote, target: Origin) -> Proxy | None:
    """Return the proxy for a request of `remote` to `target`, or `None` for a direct connection.

    Raise `UnsupportedUrlError` when the environment names a proxy that does not speak HTTP, or
    none.
    """
    if remote.proxy_url is not None:
        return Proxy(remote.proxy_url, _authorization(remote.proxy_username, remote.proxy_password))
    if not remote.trust_env:
        return None
    named = getproxies()
    found = named.get(target[0]) or named.get("all")
    # Without an environment, the settings of macOS and Windows count.
    excepted = is_excepted(target, named["no"]) if "no" in named else proxy_bypass(target[1])
    return _from_url(found) if found and not excepted else None


def _from_url(url: str) -> Proxy:
    whole = url if "://" in url else f"http://{url}"
    try:
        parts, _ = urlsplit(whole), origin(whole)
    except ValueError:
        raise UnsupportedUrlError(
            redact(whole), "malformed, as a proxy of the environment"
        ) from None
    if parts.scheme not in {"http", "https"}:
        raise UnsupportedUrlError(redact(url), "only http and https proxies are supported")
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    if parts.username is None:
        return Proxy(bare, None)
    return Proxy(bare, basic(unquote(parts.username), unquote(parts.password or "")))


def _authorization(username: str | None, password: str | None) -> str | None:
    return None if username is None else basic(username, password or "")
