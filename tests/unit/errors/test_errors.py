import copy
import inspect
import pickle
from collections.abc import Sequence

import pytest

from flowsync import errors
from flowsync.errors import (
    AllSourcesFailedError,
    DeclarationError,
    DigestMismatchError,
    EmbeddedPostgresError,
    FlowsyncError,
    RepeatedStageError,
    SizeMismatchError,
    StatusError,
    TransferError,
    TransferTimeoutError,
    UnreachableError,
)

CLASSES = [
    value
    for value in vars(errors).values()
    if inspect.isclass(value) and issubclass(value, Exception)
]
SAMPLES: dict[object, object] = {
    str: "text",
    int: 7,
    float: 1.5,
    float | None: 2.5,
    object: "anything",
    Sequence[Exception]: (UnreachableError("http://host/a", "refused"),),
}
"""A value for each type of parameter that the constructors of errors have."""


def make(kind: type[FlowsyncError]) -> FlowsyncError:
    parameters = inspect.signature(kind.__init__).parameters.values()
    typed = [parameter for parameter in parameters if parameter.annotation in SAMPLES]
    return kind(*(SAMPLES[parameter.annotation] for parameter in typed) if typed else ["text"])


def facts(error: BaseException) -> dict[str, object]:
    return {
        name: [str(cause) for cause in value] if name == "failures" else value
        for name, value in vars(error).items()
    }


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_is_in_the_tree_has_a_name_and_says_what_it_means(
    kind: type[FlowsyncError],
) -> None:
    assert issubclass(kind, FlowsyncError)
    assert kind.__name__.endswith("Error")
    assert kind.__doc__


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_can_go_to_another_process_and_be_copied(kind: type[FlowsyncError]) -> None:
    """Workers raise them too: class, text, facts and notes come back."""
    error = make(kind)
    error.add_note("in stage 2 of 3, Worker")

    sent = pickle.loads(pickle.dumps(error))  # noqa: S301 - the bytes are our own
    for other in (sent, copy.copy(error)):
        assert type(other) is kind
        assert str(other) == str(error)
        assert facts(other) == facts(error)
        assert other.__notes__ == ["in stage 2 of 3, Worker"]


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (DeclarationError, ValueError),
        (RepeatedStageError, ValueError),
        (TransferTimeoutError, TimeoutError),
        (errors.SettingsError, ValueError),
        (errors.UnsupportedUrlError, ValueError),
        (errors.MetadataError, ValueError),
        (errors.RepositoryNotFoundError, LookupError),
        (errors.VersionNotFoundError, LookupError),
        (errors.BlobMissingError, LookupError),
    ],
)
def test_error_is_also_what_its_caller_may_already_catch(
    kind: type[FlowsyncError], builtin: type[Exception]
) -> None:
    assert isinstance(make(kind), builtin)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (
            DigestMismatchError("http://host/a", "sha256", "aa", "bb"),
            "http://host/a: sha256 is bb, expected aa",
        ),
        (
            SizeMismatchError("http://host/a", 5, 7),
            "http://host/a: size is 7 bytes, expected 5",
        ),
        (TransferError("http://host/a", "refused"), "http://host/a: refused"),
        (TransferTimeoutError("http://host/a", "no answer"), "http://host/a: no answer"),
        (StatusError("http://host/a", "404 Not Found", 404), "http://host/a: 404 Not Found"),
        (
            AllSourcesFailedError(
                "a.txt",
                [
                    TransferError("http://one/a", "refused"),
                    SizeMismatchError("http://two/a", 5, 7),
                ],
            ),
            (
                "a.txt: every source failed: http://one/a: refused; http://two/a: size is 7 "
                "bytes, expected 5"
            ),
        ),
        (
            EmbeddedPostgresError("starting the server", "port in use"),
            "embedded PostgreSQL: starting the server: port in use",
        ),
        (
            EmbeddedPostgresError("starting the server", "port in use", "stop the other one"),
            "embedded PostgreSQL: starting the server: port in use; stop the other one",
        ),
    ],
)
def test_error_says_to_what_it_happened_and_what_was_found(error: Exception, text: str) -> None:
    assert str(error) == text


def test_facts_are_attributes() -> None:
    status = StatusError("http://host/a", "busy", 503, retry_after=7.5)
    mismatch = DigestMismatchError("http://host/a", "sha256", "aa", "bb")

    assert (status.url, status.status, status.retry_after) == ("http://host/a", 503, 7.5)
    assert (mismatch.source, mismatch.algorithm) == ("http://host/a", "sha256")
    assert (mismatch.expected, mismatch.found) == ("aa", "bb")
