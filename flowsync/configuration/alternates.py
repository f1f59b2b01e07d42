"""The remotes of alternate sources, put together from the catalog and the settings file.

The catalog knows where they are and keeps no secret; `[alternate_sources.NAME]` of the file adds
how to talk to them. A source that the file does not mention is talked to as it is recorded.
"""

from collections.abc import Callable
from typing import Any

import msgspec

import flowsync
from flowsync import library
from flowsync.configuration.kind_options import first_stage, read_options
from flowsync.configuration.settings_file import SettingsFile, expect_expanded
from flowsync.errors import SettingsError
from flowsync.kinds import SourceKind
from flowsync.model.remote import Remote
from flowsync.pipeline.stage import Stage


async def register_alternates(engine: "flowsync.Engine", file: SettingsFile) -> bool:
    """Let an open engine use the alternate sources of its catalog as the file describes them, and
    say whether there are any. Raise `SettingsError` when the file describes one that cannot be.
    """
    sources = await library.alternate_sources(engine)
    for source in sources:
        if source.name in file.alternate_sources:
            remote = described_remote(file, source.name, source.remote_name, source.url)
            engine.alternate_remotes[source.remote_name] = remote
    return bool(sources)


def described_remote(file: SettingsFile, name: str, called: str, url: str) -> Remote:
    """Return the remote of source `name` at `url`, itself `called` so. Raise `SettingsError` when
    the file describes one that cannot be.
    """
    about = _about(file, name)
    described = file.alternate_sources.get(name)
    given: dict[str, Any] = {} if described is None else described.remote
    expect_expanded(given, about)
    fields = {**given, "name": called, "url": url, "policy": "on_demand"}
    try:
        return msgspec.convert(fields, Remote)
    except msgspec.ValidationError as error:
        # What the remote itself objects to comes wrapped.
        raise SettingsError(f"{about}: {error.__cause__ or error}") from error


def alternate_first_stage(
    file: SettingsFile, name: str, kind: SourceKind
) -> Callable[[Remote], Stage]:
    """Return what makes the first stages of source `name`, which is of that kind, with the options
    that the file has for it. Raise `SettingsError` when these cannot be.
    """
    about = _about(file, name)
    described = file.alternate_sources.get(name)
    given: dict[str, Any] = {} if described is None else described.options
    expect_expanded(given, about)
    try:
        options = read_options(kind, given)
    except SettingsError as error:
        raise SettingsError(f"{about}: {error}") from error
    return lambda remote: first_stage(kind, remote, options)


def _about(file: SettingsFile, name: str) -> str:
    return f"{'' if file.path is None else f'{file.path}: '}alternate source {name!r}"
