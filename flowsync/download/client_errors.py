"""What the HTTP client raises, said in errors of ours: with the URL redacted, and without a text that may hold a secret."""

from typing import Final

import aiohttp

from flowsync.download.connections import UnintelligibleAnswerError
from flowsync.download.origin import Tally
from flowsync.model.remote import Remote
from flowsync.model.transfer import FetchRequest
from flowsync.model.transfer_errors import (
    BrokenBodyError,
    CertificateError,
    StatusError,
    TransferError,
    TransferTimeoutError,
    UnreachableError,
    UnsupportedUrlError,
)
from flowsync.model.url import redact

FOREIGN: Final = (aiohttp.ClientError, OSError)
"""All that the client raises about upstream and the way there."""


def unanswered(url: str, error: Exception, remote: Remote) -> TransferError:
    """Return the error of a request that got no answer. `url` is redacted."""
    if isinstance(error, TimeoutError):
        return timeout(url, error, remote)
    if isinstance(error, aiohttp.InvalidURL):
        return UnsupportedUrlError(url, "malformed")
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return StatusError(url, f"the proxy answered {error.status}", error.status)
    if isinstance(error, UnintelligibleAnswerError):
        return BrokenBodyError(url, f"the answer cannot be understood: {error}")
    return _unreachable(url, error)


def broken(error: Exception | None, request: FetchRequest, tally: Tally) -> TransferError:
    """Return the error of an answer whose body ends too early, with what was raised about it, if anything was."""
    url = redact(request.url)
    if isinstance(error, TimeoutError):
        return timeout(url, error, request.remote)
    return BrokenBodyError(url, f"the body broke off after {tally.taken} bytes")


def stalled(url: str, remote: Remote) -> TransferError:
    """Return the error of a body of which nothing comes any more. `url` is redacted."""
    return TransferTimeoutError(url, f"nothing arrived within {remote.stall_timeout} s")


def timeout(url: str, error: TimeoutError, remote: Remote) -> TransferError:
    """Return the error of the limit that was missed. `url` is redacted."""
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return TransferTimeoutError(url, f"no connection within {remote.connect_timeout} s")
    if isinstance(error, aiohttp.SocketTimeoutError):
        return stalled(url, remote)
    return TransferTimeoutError(url, f"not complete within {remote.total_timeout} s")


def may_tell_secrets(error: Exception) -> bool:
    """Whether the error's own text may hold a whole URL or headers, so that it must not be kept as a cause."""
    return isinstance(
        error,
        (
            aiohttp.ConnectionTimeoutError,
            UnintelligibleAnswerError,
            aiohttp.InvalidURL,
            aiohttp.ServerDisconnectedError,
        ),
    )


def _unreachable(url: str, error: Exception) -> TransferError:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return CertificateError(url, f"certificate refused: {error.certificate_error}")
    if isinstance(error, aiohttp.ServerDisconnectedError):
        # Its own text may be the half of an answer, with all headers.
        return UnreachableError(url, "the server disconnected before its answer was complete")
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return UnreachableError(url, f"the proxy cannot be reached: {error}")
    return UnreachableError(url, str(error))
