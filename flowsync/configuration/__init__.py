"""What a program does with `flowsync.toml`: reads it, finds the installed kinds of source, and
begins the syncs that it asks for, as the command line does.
"""

from flowsync.configuration.alternates import described_remote, register_alternates
from flowsync.configuration.configuration import Configuration, read_configuration
from flowsync.configuration.installed_kinds import (
    InstalledKinds,
    installed_kinds,
    kind_names,
    load_kind,
)
from flowsync.configuration.plan_file import (
    PlanFile,
    PlannedSync,
    planned_sync,
    read_plan_file,
    syncs_of,
    write_plan_file,
)
from flowsync.configuration.settings_file import (
    AlternateSourceSettings,
    DefaultSettings,
    RepositorySettings,
    Settings,
    SettingsFile,
    read_settings_file,
)
from flowsync.configuration.wanted_syncs import (
    UnusableSync,
    WantedSync,
    find_remote,
    wanted_syncs,
)

__all__ = [
    "AlternateSourceSettings",
    "Configuration",
    "DefaultSettings",
    "InstalledKinds",
    "PlanFile",
    "PlannedSync",
    "RepositorySettings",
    "Settings",
    "SettingsFile",
    "UnusableSync",
    "WantedSync",
    "described_remote",
    "find_remote",
    "installed_kinds",
    "kind_names",
    "load_kind",
    "planned_sync",
    "read_configuration",
    "read_plan_file",
    "read_settings_file",
    "register_alternates",
    "syncs_of",
    "wanted_syncs",
    "write_plan_file",
]
