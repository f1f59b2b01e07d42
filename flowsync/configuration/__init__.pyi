# The public names of `flowsync.configuration`, a line each.

from flowsync.configuration.configuration import Configuration as Configuration
from flowsync.configuration.configuration import alternate_first_stage as alternate_first_stage
from flowsync.configuration.configuration import described_remote as described_remote
from flowsync.configuration.configuration import read_configuration as read_configuration
from flowsync.configuration.configuration import register_alternates as register_alternates
from flowsync.configuration.installed_kinds import InstalledKinds as InstalledKinds
from flowsync.configuration.kind_options import KindOption as KindOption
from flowsync.configuration.kind_options import options_of as options_of
from flowsync.configuration.plan_file import PlanFile as PlanFile
from flowsync.configuration.plan_file import PlannedSync as PlannedSync
from flowsync.configuration.plan_file import planned_sync as planned_sync
from flowsync.configuration.plan_file import read_plan_file as read_plan_file
from flowsync.configuration.plan_file import syncs_of_plan as syncs_of_plan
from flowsync.configuration.plan_file import write_plan_file as write_plan_file
from flowsync.configuration.settings_file import (
    AlternateSourceSettings as AlternateSourceSettings,
)
from flowsync.configuration.settings_file import DefaultSettings as DefaultSettings
from flowsync.configuration.settings_file import RepositorySettings as RepositorySettings
from flowsync.configuration.settings_file import Settings as Settings
from flowsync.configuration.settings_file import SettingsFile as SettingsFile
from flowsync.configuration.settings_file import read_settings_file as read_settings_file
from flowsync.configuration.wanted_syncs import UnusableSync as UnusableSync
from flowsync.configuration.wanted_syncs import WantedSync as WantedSync
from flowsync.configuration.wanted_syncs import find_remote as find_remote
from flowsync.configuration.wanted_syncs import syncs_of as syncs_of
