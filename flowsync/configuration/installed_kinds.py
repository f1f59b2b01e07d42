"""The kinds of source that are installed: ours and those of plugins, found through the entry-point
group `flowsync.sources`.

A plugin is the code of somebody else: whatever it raises makes its own kind unusable, and no other.
"""

from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Final

import msgspec

from flowsync.configuration.kind_options import check_kind
from flowsync.kinds import MetadataFile, SourceKind
from flowsync.model.errors import SettingsError
from flowsync.runtime.stopped import StoppedError

GROUP: Final = "flowsync.sources"


class InstalledKinds(msgspec.Struct, frozen=True, kw_only=True):
    """All kinds by name, each loaded or with the reason why it cannot be."""

    usable: Mapping[str, SourceKind]
    unusable: Mapping[str, str]

    @property
    def metadata(self) -> list[MetadataFile]:
        """What served versions have beside their content, by all kinds that can be used."""
        return [file for kind in self.usable.values() for file in kind.metadata]


def kind_names() -> list[str]:
    """Return the names of all kinds, without loading any."""
    return sorted({point.name for point in entry_points(group=GROUP)})


def installed_kinds() -> InstalledKinds:
    """Load all kinds, in order of name."""
    usable, unusable = {}, {}
    for name in kind_names():
        try:
            usable[name] = load_kind(name)
        except SettingsError as error:
            unusable[name] = str(error)
    return InstalledKinds(usable=usable, unusable=unusable)


def load_kind(name: str) -> SourceKind:
    """Load the kind of that name. Raise `SettingsError` that lists the known ones, or says why it
    cannot be loaded.
    """
    for point in entry_points(group=GROUP, name=name):
        try:
            loaded = point.load()
        except (KeyboardInterrupt, StoppedError):
            raise
        except BaseException as error:
            raise SettingsError(
                f"source {name!r} cannot be loaded: {_said(error)} ({point.value})"
            ) from error
        if not isinstance(loaded, SourceKind):
            raise SettingsError(f"source {name!r}: its entry point {point.value} is no SourceKind")
        check_kind(loaded)
        return loaded
    raise SettingsError(
        f"there is no source {name!r}; installed are: {', '.join(kind_names()) or 'none'}"
    )


def _said(error: BaseException) -> str:
    """Return the error as words; one that is no failed import with its class."""
    if isinstance(error, ImportError | AttributeError) and str(error):
        return str(error)
    return f"{type(error).__name__}: {error}" if str(error) else repr(error)
