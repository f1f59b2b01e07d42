"""Lets the contenders of a scenario take turns and sums up what each took.

1. One fixed upstream for all of them, a process of its own on loopback.
2. Round by round, so that a noisy neighbour meets all of them; medians are kept, ratios are what
   counts.
3. A run that did not do its work is an error, not a time.
4. What a run made stays until the last scenario is over, unless it is much: a file system that has
   just removed 20 000 files is slow to make others (14 % of a first sync's time in ext4 went into
   the search for inodes that were not freed just now), and the next contender would pay for it.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from bench.syncs.contenders import Contender
from bench.syncs.measured import Measured, measure
from bench.syncs.scenario import Scenario
from bench.syncs.table import Row
from bench.syncs.upstreams import UPSTREAMS
from bench.syncs.web import serving


def compare(
    scenario: Scenario,
    taking_part: Sequence[Contender],
    place: Path,
    *,
    rounds: int,
    share: float = 1.0,
) -> list[Row]:
    """Return a row for each contender after so many rounds with a share of the scenario's files;
    all files lie below `place`.
    """
    sizes = scenario.sizes(share)
    kind = "bodies" if scenario.bodies else "manifest"
    upstream = place / "upstream" / f"{scenario.source}-{kind}-{len(sizes)}-{sum(sizes)}"
    UPSTREAMS[scenario.source].grow(upstream, sizes, bodies=scenario.bodies)
    runs: dict[str, list[Measured]] = {who.name: [] for who in taking_part}
    with serving(upstream, place / "server") as url:
        for turn in range(rounds):
            for number, who in enumerate(taking_part):
                own = place / "runs" / scenario.name / str(number)
                if scenario.kind == "first":
                    own = own / str(turn if scenario.stays(share) else 0)
                runs[who.name].append(_run_once(scenario, who, own, upstream, url))
    fetched = sum(sizes) if scenario.bodies and scenario.kind == "first" else 0
    return [_row(who, runs[who.name], len(sizes), fetched) for who in taking_part]


def _run_once(
    scenario: Scenario, who: Contender, place: Path, upstream: Path, url: str
) -> Measured:
    who.prepare(scenario, place, upstream, url)
    if scenario.changed:
        UPSTREAMS[scenario.source].change(upstream, scenario.changed)
    # What others left dirty is not this one's to write back.
    os.sync()
    run = measure(who.command(scenario, place, upstream, url), place)
    who.check(scenario, place, upstream, run)
    return run


def _row(who: Contender, runs: Sequence[Measured], units: int, fetched: int) -> Row:
    seconds = median(run.seconds for run in runs)
    told = [own for run in runs if (own := who.own_seconds(run)) is not None]
    return Row(
        name=who.name,
        seconds=seconds,
        fastest=min(run.seconds for run in runs),
        cpu=median(run.cpu for run in runs),
        peak=max(run.peak for run in runs),
        units=units / seconds,
        sync=median(told) if told else None,
        megabytes=fetched / seconds / 1e6 if fetched else None,
    )
