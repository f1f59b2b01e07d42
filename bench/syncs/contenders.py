"""Who takes part: flowsync with some number of download workers, and the references that are
installed.

A contender has a folder of its own, prepares it unmeasured, gives the command to measure, and says
afterwards whether the command did its work: a fast command that fetched nothing is no reference.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

from bench.syncs.archive import KEY, SUITE
from bench.syncs.measured import Measured
from bench.syncs.peers import CONCURRENCY, Aptly, AptMirror, Bandersnatch, Debmirror
from bench.syncs.scenario import Scenario
from bench.syncs.tree import MANIFEST, paths, split
from bench.syncs.upstreams import UPSTREAMS


class Contender(Protocol):
    """Somebody who can do a scenario. `upstream` is the folder that is served at `url`."""

    @property
    def name(self) -> str: ...

    def prepare(self, scenario: Scenario, place: Path, upstream: Path, url: str) -> None:
        """Bring `place` into the state in which a measured run begins."""

    def command(self, scenario: Scenario, place: Path, upstream: Path, url: str) -> Sequence[str]:
        """Return what is measured."""

    def check(self, scenario: Scenario, place: Path, upstream: Path, run: Measured) -> None:
        """Raise `RuntimeError` unless the run did the work."""

    def own_seconds(self, run: Measured) -> float | None:
        """Return how long the sync itself took, if the contender tells."""


class Flowsync:
    """The command line, with `workers` download workers and an embedded server of its own."""

    def __init__(self, workers: int, name: str = "flowsync") -> None:
        self.name = f"{name}, {workers} workers" if workers else name
        self._workers = workers

    def prepare(self, scenario: Scenario, place: Path, upstream: Path, url: str) -> None:
        prepared = (place / "home").exists()
        if scenario.kind == "again" and prepared:
            return
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        (place / "flowsync.toml").write_text(self._settings(scenario, upstream, url))
        if scenario.kind == "again":
            _call(self.command(scenario, place, upstream, url), place)
        else:
            _call([*_FLOWSYNC, "--home", str(place / "home"), "status"], place)

    def command(self, scenario: Scenario, place: Path, upstream: Path, url: str) -> Sequence[str]:
        source, options = _source(scenario, upstream, url)
        sync = ["sync", *source, "-r", scenario.name, "--json", *options, *scenario.options]
        return [*_FLOWSYNC, "--home", str(place / "home"), *sync]

    def check(self, scenario: Scenario, place: Path, upstream: Path, run: Measured) -> None:
        expected = sum(1 for _ in UPSTREAMS[scenario.source].paths(upstream))
        present = sum(result["present"] for result in _results(run))
        # A package index has units of its own besides.
        if present < expected or (present > expected and scenario.source == "file"):
            raise RuntimeError(f"{self.name}: {present} units present, {expected} expected")

    def own_seconds(self, run: Measured) -> float | None:
        return max(float(result["seconds"]) for result in _results(run))

    def _settings(self, scenario: Scenario, upstream: Path, url: str) -> str:
        return f"workers = {self._workers}\n"


class FlowsyncAtOnce(Flowsync):
    """The same with all repositories of the scenario given to one engine, which lets them go on in
    turn (`syncs_at_once`, as it is by default).
    """

    def command(self, scenario: Scenario, place: Path, upstream: Path, url: str) -> Sequence[str]:
        return [*_FLOWSYNC, "--home", str(place / "home"), "sync", "--json"]

    def own_seconds(self, run: Measured) -> float | None:
        # Each tells of itself from its turn on; of all together none does.
        return None

    def _settings(self, scenario: Scenario, upstream: Path, url: str) -> str:
        head = super()._settings(scenario, upstream, url)
        parts = split(upstream, scenario.repositories)
        return head + "".join(
            f'[repositories."{part}"]\nsource = "file"\nurl = "{url}/{part}"\nmirror = true\n'
            for part in parts
        )


class Downloader:
    """The base of contenders that fetch the files into a folder `got`."""

    name: str

    def prepare(self, scenario: Scenario, place: Path, upstream: Path, url: str) -> None:
        shutil.rmtree(place, ignore_errors=True)
        (place / "got").mkdir(parents=True)

    def command(self, scenario: Scenario, place: Path, upstream: Path, url: str) -> Sequence[str]:
        raise NotImplementedError

    def check(self, scenario: Scenario, place: Path, upstream: Path, run: Measured) -> None:
        wrong = [
            path
            for path in paths(upstream)
            if not (place / "got" / path).is_file()
            or (place / "got" / path).stat().st_size != (upstream / path).stat().st_size
        ]
        if wrong:
            raise RuntimeError(f"{self.name}: {len(wrong)} files are missing or short: {wrong[0]}")

    def own_seconds(self, run: Measured) -> float | None:
        return None


class Curl(Downloader):
    """`curl --parallel`: no verification, no durability."""

    name = "curl --parallel"

    def prepare(self, scenario: Scenario, place: Path, upstream: Path, url: str) -> None:
        super().prepare(scenario, place, upstream, url)
        wanted = (f'url = "{url}/{path}"\noutput = "got/{path}"\n' for path in paths(upstream))
        (place / "wanted").write_text("".join(wanted))

    def command(self, scenario: Scenario, place: Path, upstream: Path, url: str) -> Sequence[str]:
        parallel = ["--parallel", "--parallel-max", str(CONCURRENCY)]
        return ["curl", "--silent", "--fail", *parallel, "--create-dirs", "--config", "wanted"]


class Rclone(Downloader):
    """`rclone copy` over HTTP: no verification (HTTP tells no digests), no durability."""

    name = "rclone copy"

    def prepare(self, scenario: Scenario, place: Path, upstream: Path, url: str) -> None:
        super().prepare(scenario, place, upstream, url)
        (place / "wanted").write_text("".join(f"{path}\n" for path in paths(upstream)))

    def command(self, scenario: Scenario, place: Path, upstream: Path, url: str) -> Sequence[str]:
        parallel = ["--transfers", str(CONCURRENCY), "--checkers", str(CONCURRENCY)]
        which = ["--files-from-raw", "wanted", "--no-traverse", "--config", ""]
        return ["rclone", "copy", "--http-url", url, *which, *parallel, ":http:", "got"]


class BareAiohttp(Downloader):
    """aiohttp and nothing else (`bare.py`)."""

    name = "bare aiohttp"

    def command(self, scenario: Scenario, place: Path, upstream: Path, url: str) -> Sequence[str]:
        return [sys.executable, "-m", "bench.syncs.bare", url, str(upstream), "got"]


class DurableCopy(Downloader):
    """What the disk asks for: the same files copied from the upstream's folder without any network,
    then made durable at once.
    """

    name = "cp, durable"

    def command(self, scenario: Scenario, place: Path, upstream: Path, url: str) -> Sequence[str]:
        return ["sh", "-c", 'cp -R "$1"/. got && sync -f got', "copy", str(upstream)]


def contenders(scenario: Scenario, workers: Sequence[int]) -> list[Contender]:
    """Return who can do the scenario on this machine: flowsync first, then the references."""
    taking_part: list[Contender] = [Flowsync(count) for count in workers]
    if scenario.repositories > 1:
        at_once = f"flowsync, {scenario.repositories} at once"
        taking_part = [*(FlowsyncAtOnce(count, at_once) for count in workers), *taking_part]
    if scenario.source != "file":
        installed = [who for program, who in _PEERS[scenario.source] if shutil.which(program)]
        return [*taking_part, *installed]
    if scenario.kind == "first" and scenario.bodies:
        references = {
            "curl": Curl(),
            "rclone": Rclone(),
            "python3": BareAiohttp(),
            "sync": DurableCopy(),
        }
        taking_part += [who for program, who in references.items() if shutil.which(program)]
    return taking_part


_FLOWSYNC: Final = [sys.executable, "-m", "flowsync"]

_PEERS: Final[dict[str, list[tuple[str, Contender]]]] = {
    "deb": [("aptly", Aptly()), ("debmirror", Debmirror()), ("apt-mirror", AptMirror())],
    "pypi": [("bandersnatch", Bandersnatch())],
}


def _source(scenario: Scenario, upstream: Path, url: str) -> tuple[list[str], list[str]]:
    """Return what `flowsync sync` is to bring, and the options of its kind."""
    if scenario.source == "deb":
        signed = upstream / KEY
        return ["deb", url], ["--set", f"suites={SUITE}", "--set", f"keyring={signed}"]
    if scenario.source == "pypi":
        return ["pypi", f"{url}/simple/"], ["--set", "projects=*"]
    return ["file", f"{url}/{MANIFEST}"], []


def _results(run: Measured) -> list[dict[str, float]]:
    """Return what `--json` told, one object a repository."""
    return [json.loads(line) for line in run.out.splitlines()]


def _call(command: Sequence[str], folder: Path) -> None:
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
