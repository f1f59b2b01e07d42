"""Scenes: what several repositories sync at the same time, from which faulty upstreams, drawn from
a seed.

A scene has rounds. In each round every repository is synced once, all at the same time in one
engine; bodies are drawn from one pool, so that they share contents. The same seed gives the same
scene; in which order its requests arrive is chance.
"""

import hashlib
from collections.abc import Mapping, Sequence
from random import Random
from typing import Literal

import msgspec

from flowsync import ErrorPolicy, Policy
from tests.integration.faults.foretelling import (
    Outcome,
    Route,
    Verdict,
    draw_file,
    draw_manifest,
)
from tests.system.publishing import manifest_of

SIZES = [
    *(0, 1, 17, 1000, 5000, 5001) * 3,
    *(131_071, 131_072, 131_073),
    *(1_048_575, 1_048_576, 1_048_577),
    2_500_000,
]
"""Bytes of bodies: mostly tiny, some around the limit below which bodies stay in memory (128 KiB),
some around the block of a file (1 MiB).
"""

SPARE = 2
"""Tries that a download may lose to others: bytes that a lying answer left behind on a connection,
or a stall that was only a slow machine.
"""

STALL = 0.5
"""Seconds without a byte after which a request is given up, in scenes with stalls."""


class FilePlan(msgspec.Struct, frozen=True, kw_only=True):
    """A file: its path, its right body, and where it can be had. `known` names the fields that its
    artifact declares.
    """

    path: str
    body: bytes
    routes: tuple[Route, ...]
    known: tuple[str, ...] = ("sha256", "size")

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.body).hexdigest()


class UnitPlan(msgspec.Struct, frozen=True):
    """One content unit: a file, or several that belong together."""

    files: tuple[FilePlan, ...]


class SyncPlan(msgspec.Struct, frozen=True, kw_only=True):
    """One sync. With a `manifest` the file source reads it; without one, a first stage of the test
    declares the units.
    """

    repository: str
    units: tuple[UnitPlan, ...]
    manifest: Route | None
    mirror: bool = False
    acs: bool = False
    policy: Policy = "immediate"
    on_error: ErrorPolicy = "fail"
    max_errors: int | None = None
    max_retries: int = 3
    concurrency: int = 16
    stall_timeout: float = 20.0
    cancel_after: int | None = None
    """How many requests upstream has seen when the sync is cancelled."""


Round = tuple[SyncPlan, ...]


class Scene(msgspec.Struct, frozen=True, kw_only=True):
    """All that a seed decides. `alternates` are the files of an alternate source by their sha256,
    which is their path too.
    """

    seed: int
    rounds: tuple[Round, ...]
    alternates: Mapping[str, FilePlan]
    workers: int
    in_flight_bytes: int | None
    in_flight_items: int | None
    spare: int

    def verdict(self, plan: SyncPlan, file: FilePlan) -> Verdict:
        """Foretell the download of one file on its own."""
        verdicts = [route.verdict(plan.max_retries - self.spare) for route in file.routes]
        # The alternate source knows its files by sha256: what is declared by another digest alone
        # is not found there.
        if plan.acs and "sha256" in file.known and file.sha256 in self.alternates:
            (route,) = self.alternates[file.sha256].routes
            verdicts.append(route.verdict(ALTERNATE_RETRIES - self.spare))
        if Verdict.SURE in verdicts:
            return Verdict.SURE
        return Verdict.OPEN if Verdict.OPEN in verdicts else Verdict.DOOMED


ALTERNATE_RETRIES = 4


def draw_scene(seed: int) -> Scene:
    """Draw all that a seed decides."""
    random = Random(seed)
    bodies = [random.randbytes(random.choice(SIZES)) for _ in range(random.randrange(3, 15))]
    stalls = random.random() < 0.2
    with_alternates = random.random() < 0.25
    repositories = [f"r{number}" for number in range(random.randrange(1, 5))]
    rounds = []
    for number in range(random.randrange(1, 4)):
        drawn = [
            _draw_sync(random, name, bodies, number, stalls=stalls, acs=with_alternates)
            for name in repositories
        ]
        rounds.append(tuple(drawn))
    return Scene(
        seed=seed,
        rounds=tuple(rounds),
        alternates=_draw_alternates(random, bodies) if with_alternates else {},
        workers=1 if random.random() < 0.1 else 0,
        in_flight_bytes=random.choice([None, 0, 200_000, 3_000_000]),
        in_flight_items=random.choice([None, 1, 5]),
        spare=SPARE,
    )


def clean(plan: SyncPlan) -> SyncPlan:
    """Return the same sync from an upstream without faults: requests run one at a time."""
    manifest = plan.manifest and Route(path=plan.manifest.path, body=_manifest(plan.units))
    return msgspec.structs.replace(
        plan,
        units=tuple(UnitPlan(tuple(map(_clean_file, unit.files))) for unit in plan.units),
        manifest=manifest,
        acs=False,
        policy="immediate",
        on_error="fail",
        max_retries=SPARE,
        concurrency=1,
        stall_timeout=20.0,
        cancel_after=None,
    )


def _clean_file(file: FilePlan) -> FilePlan:
    routes = tuple(Route(path=route.path, body=file.body) for route in file.routes)
    return msgspec.structs.replace(file, routes=routes)


def _draw_sync(
    random: Random,
    repository: str,
    bodies: Sequence[bytes],
    number: int,
    *,
    stalls: bool,
    acs: bool,
) -> SyncPlan:
    source: Literal["manifest", "declared"] = random.choice(["manifest", "manifest", "declared"])
    calm = random.random() < 0.3
    units = tuple(
        _draw_unit(random, repository, path, bodies, declared=source == "declared", stalls=stalls)
        for path in random.sample(range(20), random.randrange(13))
    )
    manifest = None
    if source == "manifest":
        body = _manifest(units)
        path = f"/{repository}/PULP_MANIFEST"
        manifest = draw_manifest(random, path, body, stalls=stalls, first=number == 0)
        manifest = Route(path=path, body=body) if calm else manifest
    plan = SyncPlan(
        repository=repository,
        units=units,
        manifest=manifest,
        mirror=random.random() < 0.5,
        acs=acs and random.random() < 0.7,
        policy=random.choice(["immediate", "immediate", "immediate", "on_demand", "streamed"]),
        on_error=random.choice(["fail", "skip", "defer"]),
        max_errors=random.choice([1000, 1000, None, 1, 0]),
        max_retries=random.choice([0, 1, 2, 3, 4, 6, 8]),
        concurrency=random.choice([1, 2, 16]),
        stall_timeout=STALL if stalls else 20.0,
        cancel_after=random.randrange(1, 30) if random.random() < 0.1 else None,
    )
    return plan if not calm else _with_calm_files(plan)


def _with_calm_files(plan: SyncPlan) -> SyncPlan:
    units = tuple(UnitPlan(tuple(map(_clean_file, unit.files))) for unit in plan.units)
    return msgspec.structs.replace(plan, units=units)


def _draw_unit(
    random: Random,
    repository: str,
    number: int,
    bodies: Sequence[bytes],
    *,
    declared: bool,
    stalls: bool,
) -> UnitPlan:
    if number < 10:
        return UnitPlan(
            (_draw_file_plan(random, repository, f"f{number}", bodies, declared, stalls),)
        )
    paths = [f"pair{number}/a", f"pair{number}/b"] if declared else [f"deep/{number}"]
    files = [_draw_file_plan(random, repository, path, bodies, declared, stalls) for path in paths]
    return UnitPlan(tuple(files))


def _draw_file_plan(
    random: Random,
    repository: str,
    path: str,
    bodies: Sequence[bytes],
    declared: bool,
    stalls: bool,
) -> FilePlan:
    body = random.choice(bodies)
    mirrors = random.choice([1, 1, 2, 3]) if declared else 1
    urls = [f"/{repository}/{path}", f"/{repository}/2/{path}", f"/{repository}/3/{path}"]
    known = [("sha256", "size"), ("sha256",), ("sha512",), ("sha256", "md5", "size")]
    return FilePlan(
        path=path,
        body=body,
        routes=tuple(draw_file(random, url, body, stalls=stalls) for url in urls[:mirrors]),
        known=random.choice(known) if declared else known[0],
    )


def _draw_alternates(random: Random, bodies: Sequence[bytes]) -> dict[str, FilePlan]:
    """Draw an alternate source that has some of the bodies, and some of them wrong."""
    files = {}
    for body in random.sample(bodies, random.randrange(1, len(bodies) + 1)):
        sha256 = hashlib.sha256(body).hexdigest()
        route = draw_file(random, f"/alternate/{sha256}", body, stalls=False)
        if route.last.outcome is Outcome.FINAL:
            # Several syncs ask it: what is right for the first must be right for all.
            route = msgspec.structs.replace(route, faults=())
        files[sha256] = FilePlan(path=sha256, body=body, routes=(route,))
    return files


def _manifest(units: Sequence[UnitPlan]) -> bytes:
    return manifest_of({file.path: file.body for unit in units for file in unit.files})
