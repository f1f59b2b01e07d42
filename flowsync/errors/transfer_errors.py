"""The errors of transfers, a part of the tree of `error_tree.py`, with the same rules."""

from collections.abc import Sequence
from typing import Final

from flowsync.errors.error_tree import EngineClosedError, FlowsyncError
from flowsync.errors.printable import printable

LONGEST_URL: Final = 4096
"""Characters of a URL that an error shows. A redirect may lead to one of 60 000."""


class TransferError(FlowsyncError):
    """A body could not be fetched. `url` is redacted; neither it nor the reason holds what cannot
    be shown.
    """

    def __init__(self, url: str, reason: str) -> None:
        url, reason = printable(url, LONGEST_URL), printable(reason)
        super().__init__(url, reason)
        self.url, self.reason = url, reason

    def __str__(self) -> str:
        return f"{self.url}: {self.reason}"


class UnsupportedUrlError(TransferError, ValueError):
    """No fetcher handles the scheme of a URL, or the URL is malformed."""


class ForbiddenPathError(TransferError):
    """A `file://` URL leads out of the folders that the engine may read, or belongs to a remote
    that is no `file://` itself.
    """


class UnreadableFileError(TransferError):
    """A `file://` URL names something that is missing, that may not be read, or that is not a
    regular file.
    """


class UnreachableError(TransferError):
    """No connection could be made, or it broke before the answer began."""


class CertificateError(UnreachableError):
    """The server could not prove by its certificate that it is the one that was asked."""


class StatusError(TransferError):
    """The server answered with a status of 400 or more, or one that has no meaning here.
    `retry_after` is the wait in seconds that it asked for.
    """

    def __init__(
        self, url: str, reason: str, status: int, retry_after: float | None = None
    ) -> None:
        super().__init__(url, reason)
        self.args = (self.url, self.reason, status, retry_after)
        self.status, self.retry_after = status, retry_after


class RedirectError(TransferError):
    """A redirect was refused: too many, to another scheme, from https to http, to another party
    where the request demands the same, or to nowhere. `url` is the one that redirects.
    """


class OversizedBodyError(TransferError):
    """The body is longer than the caller is ready to take."""


class BrokenBodyError(TransferError):
    """The body ended before its promised length, or could not be decoded."""


class RefusedAnswerError(BrokenBodyError):
    """The answer is complete and cannot be taken as the body: its encoding was not asked for, or it
    is a part where the whole was asked for, or its head is too long. Another try brings the same.
    """


class TransferTimeoutError(TransferError, TimeoutError):
    """Connecting, waiting for bytes, or the whole transfer took longer than the remote allows."""


class AllSourcesFailedError(TransferError):
    """Every URL of an artifact was tried and failed. `failures` has them in the order tried."""

    def __init__(self, relative_path: str, failures: Sequence[Exception]) -> None:
        listed = "; ".join(str(failure) for failure in failures)
        super().__init__(relative_path, f"every source failed: {listed}")
        self.args = (self.url, failures)
        self.failures = tuple(failures)


class FetcherClosedError(TransferError, EngineClosedError):
    """A body was asked of an engine that was closed."""


class MetadataError(FlowsyncError, ValueError):
    """What upstream says about its content cannot be understood, or must not be believed."""
