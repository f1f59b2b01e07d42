"""Alternate content sources that flowsync keeps up itself: recorded with the kind of their
upstream, refreshed, removed with all that is theirs.

1. A refresh reads metadata only: an on-demand mirror sync of each path into a hidden repository, of
   which one version is kept. A path that cannot be read leaves what is known of it as it was, and
   does not keep the others from being read.
2. The remote of such a source belongs to no other. So what upstream lists no longer can be
   forgotten at the end of a refresh, and the whole remote with the source.
3. Hidden names begin with `acs:`. What begins so belongs to this module.

Decisions: docs/decisions/0017.
"""

from collections.abc import Callable, Sequence
from urllib.parse import quote

import msgspec

from flowsync.catalog.records.remotes import check_alternate_source
from flowsync.engine.engine import Engine
from flowsync.engine.operations import ends_with_engine
from flowsync.errors import AlternateSourceNotFoundError, DeclarationError, FlowsyncError
from flowsync.model.recordable import error_text
from flowsync.model.remote import AlternateSource, RefreshedPath, Remote, remote_name
from flowsync.model.repository import HIDDEN, Repository
from flowsync.pipeline.stage import Stage
from flowsync.sync.declarative_version import DeclarativeVersion


def path_url(url: str, path: str) -> str:
    """Return the URL of a path below that of the source; without a path, that of the source."""
    return f"{url.rstrip('/')}/{path.lstrip('/')}" if path else url


@ends_with_engine
async def alternate_sources(engine: Engine) -> list[AlternateSource]:
    """Return all alternate sources in the order in which they are tried."""
    return await engine.catalog.remotes.alternate_sources()


@ends_with_engine
async def alternate_source(engine: Engine, name: str) -> AlternateSource:
    """Return the source of that name. Raise `AlternateSourceNotFoundError` when there is none."""
    return await _find(engine, name)


@ends_with_engine
async def add_alternate_source(
    engine: Engine,
    name: str,
    kind: str,
    remote: Remote,
    *,
    priority: int = 0,
    paths: Sequence[str] = (),
) -> None:
    """Record a source that has the upstream `remote` of that kind, or change the one of that name;
    what it lists is known after its first refresh.

    The name of `remote` does not count: the remote of a source is its own. A higher priority is
    tried first. `paths` are those below the URL that are read; without any, all of it is. A source
    whose content a program syncs by itself is recorded by `Engine.add_alternate_source`.

    Raise `DeclarationError` for a name that cannot be one, a path given twice, or a source that is
    of another kind already.
    """
    # The colon would make the hidden names of two sources begin alike.
    if not name or ":" in name:
        raise DeclarationError(
            f"an alternate source's name must be non-empty and without ':', found {name!r}"
        )
    check_alternate_source(name, priority, paths)
    for path in paths or ("",):
        _repository(name, path)
    if len(set(paths)) < len(paths):
        raise DeclarationError(f"alternate source {name!r}: a path is given twice")
    remote = msgspec.structs.replace(remote, name=remote_name(name, kind))
    for source in await engine.catalog.remotes.alternate_sources():
        if source.name == name and source.remote_name != remote.name:
            raise DeclarationError(
                f"alternate source {name!r} is not one of kind {kind!r}; remove it first"
            )
    ids = await engine.catalog.remotes.ids([remote])
    await engine.catalog.remotes.add_alternate_source(name, ids[remote.name], priority, paths)
    engine.alternate_remotes[remote.name] = remote


async def refresh_alternate_source(
    engine: Engine, name: str, first_stage: Callable[[Remote], Stage]
) -> list[RefreshedPath]:
    """Read what the source lists now, and fetch none of it. `first_stage` makes that of its kind.

    Raise `AlternateSourceNotFoundError`, and `DeclarationError` for a source that is not kept up
    here. What fails for a path is in its outcome.
    """
    source = await _find(engine, name)
    if source.kind is None:
        raise DeclarationError(f"alternate source {name!r} was recorded without a kind of upstream")
    remote = await _remote(engine, source)
    paths = source.paths or ("",)
    outcomes = [await _refresh_path(engine, name, remote, path, first_stage) for path in paths]
    # The syncs recorded it with the URLs of the paths.
    await engine.catalog.remotes.ids([remote])
    listed = [_repository(name, path).name for path in paths]
    sources = engine.catalog.alternate_sources
    await sources.forget_unlisted(source.remote_name, _prefix(name), listed)
    if not any(outcome.error for outcome in outcomes):
        await sources.mark_refreshed(name)
    return outcomes


@ends_with_engine
async def remove_alternate_source(engine: Engine, name: str) -> None:
    """Remove a source and all that is its own; bytes that came from it stay. Raise
    `AlternateSourceNotFoundError` when there is none.
    """
    source = await _find(engine, name)
    own = None if source.kind is None else source.remote_name
    await engine.catalog.alternate_sources.remove(name, own, _prefix(name))
    engine.alternate_remotes.pop(source.remote_name, None)


async def _find(engine: Engine, name: str) -> AlternateSource:
    for source in await engine.catalog.remotes.alternate_sources():
        if source.name == name:
            return source
    raise AlternateSourceNotFoundError(f"no alternate source is named {name!r}")


async def _remote(engine: Engine, source: AlternateSource) -> Remote:
    name = source.remote_name
    return engine.alternate_remotes.get(name) or (await engine.catalog.remotes.load([name]))[name]


async def _refresh_path(
    engine: Engine, name: str, remote: Remote, path: str, first_stage: Callable[[Remote], Stage]
) -> RefreshedPath:
    url = path_url(remote.url, path)
    lazy = msgspec.structs.replace(remote, url=url, policy="on_demand")
    sync = DeclarativeVersion(
        first_stage(lazy), _repository(name, path), mirror=True, engine=engine, max_removal=1.0
    )
    try:
        version = await sync.acreate()
    except FlowsyncError as error:
        return RefreshedPath(path=path, error=error_text(error))
    assert sync.result is not None
    return RefreshedPath(path=path, units=sync.result.present, changed=version is not None)


def _repository(name: str, path: str) -> Repository:
    return Repository(name=f"{_prefix(name)}{quote(path, safe='')}", retain_versions=1)


def _prefix(name: str) -> str:
    return f"{HIDDEN}{name}:"
