"""The one tree of errors that flowsync raises.

1. Every error that a caller may act on is a `FlowsyncError`; adapters translate what the libraries
   below them raise and keep it as `__cause__`.
2. The class says the kind, the attributes hold the facts, the text is built from them once: what
   was being done, to what, what was found.
3. Where the Stages API document promises a built-in class (`ValueError`), the error is that class
   too.
4. No attribute and no text ever holds a secret: URLs come in already redacted.

Also here: text from outside, made fit to be shown. One tree is read in one place.
"""

from collections.abc import Sequence
from typing import Final


class FlowsyncError(Exception):
    """The root of all errors that flowsync raises on purpose."""


# --- what a caller declared -------------------------------------------------------------------


class DeclarationError(FlowsyncError, ValueError):
    """A declared artifact, content, remote or repository contradicts itself."""


class SettingsError(FlowsyncError, ValueError):
    """A setting is unknown, of the wrong type, or contradicts another one."""


# --- the pipeline -----------------------------------------------------------------------------


class PipelineError(FlowsyncError):
    """A pipeline was put together or used in a way that cannot work."""


class RepeatedStageError(PipelineError, ValueError):
    """The same stage instance stands in a pipeline twice, or in two running pipelines."""


class UnboundStageError(PipelineError):
    """A stage that needs the run's ports was run without a run context."""


class StageEndedEarlyError(PipelineError):
    """A stage returned although items were still coming to it, or a task of its own went on; items
    would have been lost.
    """


class StageAbortedError(PipelineError):
    """A stage, or a task of one, ended neither by returning nor with an error: with a cancellation
    that was not asked for, or with something that is no `Exception`, such as `GeneratorExit`.
    """


class ItemDroppedError(PipelineError):
    """An item is awaited that no stage will ever resolve."""


class PipelineStalledError(PipelineError):
    """No stage can go on: all wait for items while a stage awaits one that was dropped."""


class CannotCrossError(PipelineError, ValueError):
    """An item has no form in which another process could take it; the text names its type and what
    stands in the way.
    """


class WorkersLostError(PipelineError):
    """Worker processes died again and again over the same work, or cannot be started."""


class WorkerError(PipelineError):
    """A worker process failed with an error that cannot leave it; its text and its traceback are
    all there is.
    """


# --- digests and sizes ------------------------------------------------------------------------


class IntegrityError(FlowsyncError):
    """Bytes are not what was promised; nothing of them was stored."""


class DigestMismatchError(IntegrityError):
    """The digest of a body differs from the declared one."""

    def __init__(self, source: str, algorithm: str, expected: str, found: str) -> None:
        super().__init__(source, algorithm, expected, found)
        self.source, self.algorithm, self.expected, self.found = source, algorithm, expected, found

    def __str__(self) -> str:
        return f"{self.source}: {self.algorithm} is {self.found}, expected {self.expected}"


class SizeMismatchError(IntegrityError):
    """The size of a body differs from the declared one. Sizes in bytes; `found` is what was seen
    before giving up.
    """

    def __init__(self, source: str, expected: int, found: int) -> None:
        super().__init__(source, expected, found)
        self.source, self.expected, self.found = source, expected, found

    def __str__(self) -> str:
        return f"{self.source}: size is {self.found} bytes, expected {self.expected}"


class UnsupportedDigestError(IntegrityError):
    """Only digests that the policy forbids are known of an artifact that must be verified."""


class MissingDigestError(IntegrityError):
    """An artifact lacks a digest that the policy asks for."""


class HashingError(FlowsyncError):
    """Digests could not be computed: the hash workers died again and again over a file, or were
    closed.
    """


# --- the catalog ------------------------------------------------------------------------------


class CatalogError(FlowsyncError):
    """The database refused a statement or holds something unexpected."""


class CatalogConflictError(CatalogError):
    """A transaction was rolled back because it met another one: a deadlock or a serialisation
    failure. The whole of it may be done again.
    """


class CatalogUnavailableError(CatalogError):
    """The database cannot be reached, or the connection to it was lost."""


class ConnectionLostError(CatalogUnavailableError):
    """The connection to the database broke while it was in use. Whether the last statement was done
    is not known.
    """


class EmbeddedPostgresError(CatalogUnavailableError):
    """The embedded PostgreSQL could not be found, initialised, started or stopped. `advice` is a
    next step that is sure to help, or empty.
    """

    def __init__(self, doing: str, found: str, advice: str = "") -> None:
        super().__init__(doing, found, advice)
        self.doing, self.found, self.advice = doing, found, advice

    def __str__(self) -> str:
        advice = f"; {self.advice}" if self.advice else ""
        return f"embedded PostgreSQL: {self.doing}: {self.found}{advice}"


class UnfitDatabaseError(CatalogError):
    """The database cannot hold a catalog: its server is too old, or its encoding cannot hold every
    text.
    """


class SchemaTooNewError(CatalogError):
    """The database was migrated by a newer flowsync than this one."""


class RepositoryNotFoundError(CatalogError, LookupError):
    """No repository has that name."""


class VersionNotFoundError(CatalogError, LookupError):
    """The repository has no complete version with that number."""


class AlternateSourceNotFoundError(CatalogError, LookupError):
    """No alternate source has that name."""


class RunNotFoundError(CatalogError, LookupError):
    """No run has that number."""


class RepositoryBusyError(CatalogError):
    """A version of the repository is being made or deleted, and the caller chose not to wait."""


class ImmutableVersionError(CatalogError):
    """A complete version cannot be changed."""


class VersionKeptError(CatalogError):
    """A version cannot be deleted: it is protected, or the only one of its repository."""


class NotContentError(CatalogError, TypeError, AssertionError):
    """Something that is not a content unit was given where content is added or removed."""


class RepositoryVersionError(CatalogError, ValueError):
    """The content of a new version cannot coexist: it breaks a rule of repository versions."""


class DisallowedContentError(RepositoryVersionError):
    """The version holds a content type that the repository does not allow."""


class DuplicateContentError(RepositoryVersionError):
    """Two units of the version claim the same natural key or the same repository key, or a
    `Content` stands for several stored units.
    """


# --- a sync as a whole ---------------------------------------------------------------------------


class EngineClosedError(FlowsyncError):
    """The engine was closed before the work was done, or could begin; nothing half-done is
    visible.
    """


class SyncTimeoutError(FlowsyncError, TimeoutError):
    """A sync was not done within its `timeout`. `seconds` is what it was given, `reached` says how
    far it came; nothing became visible.
    """

    def __init__(self, repository: str, seconds: float, reached: str) -> None:
        super().__init__(repository, seconds, reached)
        self.repository, self.seconds, self.reached = repository, seconds, reached

    def __str__(self) -> str:
        return (
            f"the sync of {self.repository!r} was not done within its timeout of "
            f"{self.seconds:g} s; "
            f"it had come to: {self.reached}"
        )


class TooManyLeftOutError(FlowsyncError):
    """More downloads failed than the sync was ready to go on without."""


class PlanOutdatedError(FlowsyncError):
    """A planned sync came to something else than planned, or cannot start from where it was
    planned; nothing became visible.
    """


class MassRemovalError(FlowsyncError):
    """A mirror would lose more units at once than is plausible. `removed` of `present` units would
    go; `limit` is the share that may.
    """

    def __init__(self, repository: str, removed: int, present: int, limit: float) -> None:
        super().__init__(repository, removed, present, limit)
        self.repository = repository
        self.removed, self.present, self.limit = removed, present, limit

    def __str__(self) -> str:
        return (
            f"mirroring {self.repository!r} would remove {self.removed} of {self.present} "
            f"units, more than the {self.limit:.0%} that "
            "max_removal allows; if upstream is right, allow a larger share for this sync"
        )


# --- the store --------------------------------------------------------------------------------


class StoreError(FlowsyncError):
    """The blob store could not read or write. Nothing half-written is visible."""


class StoreUnwritableError(StoreError):
    """The folder of the store, or of flowsync's home, cannot be created or written."""


class StoreMismatchError(StoreError):
    """The store does not hold the bytes of the catalog: home and database do not belong
    together.
    """


class StoreFullError(StoreError):
    """The disk of the store is full, or a quota is used up."""


class BlobMissingError(StoreError, LookupError):
    """The store has no blob of that name."""


class BlobDamagedError(StoreError):
    """A stored blob does not have the digest that it is named by."""


class ExportError(FlowsyncError):
    """A version cannot be written out as a folder of files."""


# Text that came from outside, made fit to be shown, recorded and sent on.
#
# What cannot be shown (a surrogate, a control character, a sign that turns the direction of text)
# neither fits a database nor belongs on a terminal.

REPLACEMENT: Final = "\ufffd"


def printable(text: str, most: int | None = None) -> str:
    """Return the text with a space for white space and U+FFFD for what cannot be shown, cut to
    `most` characters.
    """
    if not text.isprintable():
        text = "".join(map(_shown, text))
    if most is not None and len(text) > most:
        return f"{text[: most - 1]}…"
    return text


def _shown(character: str) -> str:
    if character.isprintable():
        return character
    return " " if character in "\t\r\n" else REPLACEMENT


# The errors of transfers, with the same rules.

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
