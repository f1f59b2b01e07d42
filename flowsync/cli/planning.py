"""Plans the syncs of one `flowsync plan` in one engine, one after the other: nothing is waited for
but metadata.
"""

from collections.abc import Sequence

import flowsync
from flowsync.cli.display import Display, display
from flowsync.cli.plan_report import as_text
from flowsync.cli.plans import Unusable, WantedSync
from flowsync.cli.settings import Configuration
from flowsync.cli.syncing import SyncFlags, about, declare_sync, tell_bug
from flowsync.errors import FlowsyncError
from flowsync.model.plan import SyncPlan


async def plan_all(
    configuration: Configuration, plans: Sequence[WantedSync | Unusable], manner: SyncFlags
) -> list[SyncPlan | None]:
    """Plan all syncs and tell each plan; `None` stands for one that failed, which is told on
    stderr.
    """
    with display(quiet=manner.as_json, expected=len(plans)) as shown:
        async with configuration.engine() as engine:
            return [await _plan(engine, plan, manner, shown) for plan in plans]


async def _plan(
    engine: "flowsync.Engine", plan: WantedSync | Unusable, manner: SyncFlags, shown: Display
) -> SyncPlan | None:
    if isinstance(plan, Unusable):
        shown.complain(plan.reason)
        return None
    try:
        found = await declare_sync(engine, plan, manner, shown).aplan()
    except FlowsyncError as error:
        shown.complain(f"plan of the {about(plan)} failed: {error}")
        return None
    except Exception as error:  # noqa: BLE001 - a bug, most likely in a plugin
        tell_bug(shown, f"plan of the {about(plan)}", error)
        return None
    if not manner.as_json:
        shown.tell(as_text(found))
    return found
