"""The kinds of source that are installed: ours and those of plugins, found through the entry-point
group `flowsync.sources`.
"""

from importlib.metadata import entry_points

from flowsync.cli.formatting import one_line
from flowsync.cli.outcome import StoppedError
from flowsync.cli.output import complain
from flowsync.errors import SettingsError
from flowsync.kinds import SourceKind

GROUP = "flowsync.sources"


def kind_names() -> list[str]:
    """Return the names of all kinds, without loading any."""
    return sorted({point.name for point in entry_points(group=GROUP)})


def kind(name: str) -> SourceKind:
    """Load the kind of that name. Raise `SettingsError` that lists the known ones, or says why it
    cannot be loaded.
    """
    for point in entry_points(group=GROUP, name=name):
        try:
            loaded = point.load()
        except (KeyboardInterrupt, StoppedError):
            raise
        except BaseException as error:
            # It is the code of somebody else: whatever it raises makes its own kind unusable.
            raise SettingsError(
                f"source {name!r} cannot be loaded: {_said(error)} ({point.value})"
            ) from error
        if not isinstance(loaded, SourceKind):
            raise SettingsError(f"source {name!r}: its entry point {point.value} is no SourceKind")
        return loaded
    raise SettingsError(
        f"there is no source {name!r}; installed are: {', '.join(kind_names()) or 'none'}"
    )


def summaries() -> list[tuple[str, str]]:
    """Return the names of all kinds, each with a line about it."""
    return [(name, _summary(name)) for name in kind_names()]


def loadable_kinds() -> list[SourceKind]:
    """Return all kinds that can be loaded, as a server wants them; warn of the others."""
    found = []
    for name in kind_names():
        try:
            found.append(kind(name))
        except SettingsError as error:
            complain(f"warning: {error}")
    return found


def _summary(name: str) -> str:
    try:
        return one_line(kind(name).summary)
    except SettingsError as error:
        return one_line(str(error))


def _said(error: BaseException) -> str:
    """Return the error as words; one that is no failed import with its class."""
    if isinstance(error, ImportError | AttributeError) and str(error):
        return str(error)
    return f"{type(error).__name__}: {error}" if str(error) else repr(error)
