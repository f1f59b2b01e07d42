"""The kinds of source that are installed: ours and those of plugins, found through the entry-point group `flowsync.sources`."""

from importlib.metadata import entry_points

from flowsync.model.errors import SettingsError
from flowsync.sync.source import SourceKind

GROUP = "flowsync.sources"


def kind_names() -> list[str]:
    """Return the names of all kinds, without loading any."""
    return sorted(point.name for point in entry_points(group=GROUP))


def kind(name: str) -> SourceKind:
    """Load the kind of that name. Raise `SettingsError` that lists the known ones."""
    for point in entry_points(group=GROUP, name=name):
        loaded = point.load()
        if not isinstance(loaded, SourceKind):
            raise SettingsError(f"entry point {point.value} for source {name!r} is no SourceKind")
        return loaded
    raise SettingsError(
        f"there is no source {name!r}; installed are: {', '.join(kind_names()) or 'none'}"
    )
