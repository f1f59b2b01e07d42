"""The kinds of source that are installed: ours and those of plugins, found through the entry-point
group `flowsync.sources`.

A plugin is foreign code: whatever it raises makes its own kind unusable, and no other.
"""

from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import Final

from flowsync.configuration.kind_options import check_kind
from flowsync.errors import SettingsError
from flowsync.kinds import SourceKind
from flowsync.runtime.signal_received import SignalReceivedError

GROUP: Final = "flowsync.sources"


class InstalledKinds:
    """The kinds that are installed when they are first asked for. Each is loaded once, when it is
    asked for; to look for them takes milliseconds, so one instance serves all repositories of a
    settings file.
    """

    def __init__(self) -> None:
        self._loaded: dict[str, SourceKind | SettingsError] = {}

    @property
    def names(self) -> list[str]:
        """The names of all kinds, sorted. None is loaded."""
        return sorted(self._points)

    @property
    def usable(self) -> dict[str, SourceKind]:
        """All kinds that can be loaded, by name."""
        return {name: kind for name, kind in self._all() if isinstance(kind, SourceKind)}

    @property
    def unusable(self) -> dict[str, str]:
        """The names of the kinds that cannot be loaded, each with the reason."""
        return {name: str(kind) for name, kind in self._all() if isinstance(kind, SettingsError)}

    def load(self, name: str) -> SourceKind:
        """Return the kind of that name. Raise `SettingsError` that lists the known ones, or says
        why it cannot be loaded.
        """
        if name not in self._points:
            raise SettingsError(
                f"there is no source {name!r}; installed are: {', '.join(self.names) or 'none'}"
            )
        found = self._load(name)
        if isinstance(found, SettingsError):
            raise SettingsError(str(found)) from found.__cause__
        return found

    @cached_property
    def _points(self) -> dict[str, EntryPoint]:
        # Of two with one name the first counts, as in the search path.
        return {point.name: point for point in reversed([*entry_points(group=GROUP)])}

    def _all(self) -> list[tuple[str, SourceKind | SettingsError]]:
        return [(name, self._load(name)) for name in self.names]

    def _load(self, name: str) -> SourceKind | SettingsError:
        if name not in self._loaded:
            try:
                self._loaded[name] = _loaded(self._points[name])
            except SettingsError as error:
                self._loaded[name] = error
        return self._loaded[name]


def _loaded(point: EntryPoint) -> SourceKind:
    try:
        loaded = point.load()
    except (KeyboardInterrupt, SignalReceivedError):
        raise
    except BaseException as error:
        raise SettingsError(
            f"source {point.name!r} cannot be loaded: {_said(error)} ({point.value})"
        ) from error
    if not isinstance(loaded, SourceKind):
        raise SettingsError(
            f"source {point.name!r}: its entry point {point.value} is no SourceKind"
        )
    check_kind(loaded)
    return loaded


def _said(error: BaseException) -> str:
    """Return the error as words; one that is no failed import with its class."""
    if isinstance(error, ImportError | AttributeError) and str(error):
        return str(error)
    return f"{type(error).__name__}: {error}" if str(error) else repr(error)
