"""What may be put to the stages of a sync: declared content that can be recorded, and written out
again.

The stages that take declarations name `check_declared` as what they accept, so the pipeline asks it
in the stage that puts, whose traceback then leads to the line at fault. It is asked when an item is
put, not when it is made, because declarations can be changed in between.
"""

import re
from collections.abc import Mapping
from typing import Any, Final
from unicodedata import category

from flowsync.declare import DeclarativeArtifact, DeclarativeContent
from flowsync.errors import DeclarationError
from flowsync.model.artifact import LARGEST_SIZE, Artifact, StagedArtifact, StoredArtifact
from flowsync.model.recordable import problem_with_content, problem_with_path, shown_path
from flowsync.model.remote import Remote
from flowsync.model.url import holds_user, redact, why_unsendable
from flowsync.pipeline.stage import Stage

_LONGEST_SHOWN: Final = 300
_ARTIFACTS: Final = frozenset({Artifact, StagedArtifact, StoredArtifact})
_PLAIN_URL: Final = re.compile(r"[!-?A-~]+")
"""URLs of printable ASCII in which no user can be named: nearly all."""

_LAST_LINE: Final = (1 << 31) - 1


def check_declared(sender: Stage, item: Any) -> None:
    """Raise `DeclarationError`, naming the stage that puts it and the unit, unless `item` is
    content that can be recorded.
    """
    if type(item) is not DeclarativeContent and not isinstance(item, DeclarativeContent):
        raise DeclarationError(
            f"stage {sender} put {_shown(item)} of type {type(item).__name__}, "
            "where only a DeclarativeContent can be put"
        )
    problem = problem_with_content(item.content)
    if problem is None and not _is_plain(item):
        problem = _problem(item)
    if problem is not None:
        raise DeclarationError(f"stage {sender} put {_shown(item)}: {problem}")


def _is_plain(item: DeclarativeContent) -> bool:
    """Say whether the item has at most one artifact, and that as nearly all are. Of what is plain
    nothing else has to be looked at; it is asked for each unit, so it takes few steps.
    """
    line, declared = item.line, None
    if line is not None and not (type(line) is int and 0 <= line <= _LAST_LINE):
        return False
    if type(item.d_artifacts) is not list:
        return False
    for one in item.d_artifacts:
        if declared is not None or type(one) is not DeclarativeArtifact:
            return False
        declared = one
    if declared is None:
        return True
    artifact, urls = declared.artifact, declared.urls
    if type(artifact) not in _ARTIFACTS:
        return False
    size = artifact.size
    return (
        (size is None or (type(size) is int and 0 <= size <= LARGEST_SIZE))
        and declared.relative_path is declared.checked_path
        and (declared.remote is None or type(declared.remote) is Remote)
        and not declared.extra_data
        and type(urls) is list
        and urls != []
        and urls[1:] == []
        and type(urls[0]) is str
        and _PLAIN_URL.fullmatch(urls[0]) is not None
    )


def _problem(item: DeclarativeContent) -> str | None:
    line: Any = item.line
    if line is not None and not (type(line) is int and 0 <= line <= _LAST_LINE):
        return f"its line is {line!r}, no number of a line"
    artifacts: Any = item.d_artifacts
    if not isinstance(artifacts, list):
        return f"its d_artifacts are of type {type(artifacts).__name__}, not a list"
    for declared in artifacts:
        problem = _problem_with_artifact(declared)
        if problem is not None:
            return problem
    return _repeated_path(artifacts) if len(artifacts) > 1 else None


def _problem_with_artifact(declared: Any) -> str | None:
    if not isinstance(declared, DeclarativeArtifact):
        return f"its d_artifacts hold {_shown(declared)}, which is no DeclarativeArtifact"
    path = declared.relative_path
    problem = problem_with_path(path)
    if problem is not None:
        return f"the relative path {shown_path(path)} {problem}"
    # Whatever the annotations say: these are attributes that anyone may set.
    artifact: Any = declared.artifact
    remote: Any = declared.remote
    if not isinstance(artifact, Artifact):
        problem = f"is of type {type(artifact).__name__}, not an Artifact"
    elif artifact.size is not None and not _is_size(artifact.size):
        problem = f"has the size {artifact.size!r}"
    elif remote is not None and not isinstance(remote, Remote):
        problem = f"has a remote of type {type(remote).__name__}"
    else:
        problem = _problem_with_urls(declared.urls)
        if problem is None and declared.extra_data:
            problem = _problem_with_extra_data(declared.extra_data)
    return None if problem is None else f"the artifact at {path!r} {problem}"


def _repeated_path(artifacts: list[DeclarativeArtifact]) -> str | None:
    seen: set[str] = set()
    for declared in artifacts:
        if declared.relative_path in seen:
            return f"two of its artifacts have the relative path {declared.relative_path!r}"
        seen.add(declared.relative_path)
    return None


def _problem_with_urls(urls: object) -> str | None:
    if not isinstance(urls, list) or not urls:
        return "has no list of urls"
    for url in urls:
        if not isinstance(url, str) or not url:
            return f"has a url that is no text: {_shown(url)}"
        if not url.isprintable() and not {"Cc", "Cs"}.isdisjoint(map(category, url)):
            return f"has a url with a control character or a lone surrogate: {_shown(redact(url))}"
        if "@" in url and holds_user(url):
            return f"has a url with credentials in it, {redact(url)}: they belong to the remote"
    return None


def _problem_with_extra_data(extra_data: object) -> str | None:
    if not isinstance(extra_data, Mapping):
        return f"has extra_data of type {type(extra_data).__name__}, not a mapping"
    headers: Any = extra_data.get("headers", {})
    if not isinstance(headers, Mapping):
        return f"has headers of type {type(headers).__name__}, not a mapping"
    for name, value in headers.items():
        if not isinstance(name, str) or not isinstance(value, str):
            return f"has the header {_shown(name)}, whose name or value is no text"
        reason = why_unsendable(name, value)
        if reason is not None:
            return f"has a header that cannot be sent: {reason}"
    return None


def _is_size(size: object) -> bool:
    return type(size) is int and 0 <= size <= LARGEST_SIZE


def _shown(value: object) -> str:
    try:
        shown = repr(value)
    except Exception:  # noqa: BLE001 -- the class of a stranger, or nesting without end
        shown = f"something of type {type(value).__name__}"
    return shown if len(shown) <= _LONGEST_SHOWN else f"{shown[:_LONGEST_SHOWN]}…"
