"""The mirrors that users of a kind of source have besides flowsync. Each is set up in `prepare` as
its manual says, for 16 downloads at a time where that can be said, and verifies sizes and digests.
None of them verifies the suite's signature here; flowsync does.
"""

import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from bench.syncs.archive import SUITE
from bench.syncs.measured import Measured
from bench.syncs.scenario import Scenario
from bench.syncs.upstreams import UPSTREAMS

CONCURRENCY: Final = 16


class Mirror:
    """The base of mirrors: the packages that they keep, `what`, lie below `kept`."""

    name: str
    kept: str
    what = "*.deb"

    def prepare(self, scenario: Scenario, place: Path, upstream: Path, url: str) -> None:
        """Set the mirror up; where a scenario begins with a mirror that is there, fill it once."""
        ready = place / "ready"
        if scenario.kind == "again" and ready.exists():
            return
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        self.set_up(place, url)
        if scenario.kind == "again":
            command = self.command(scenario, place, upstream, url)
            subprocess.run(command, cwd=place, check=True, capture_output=True)
        ready.touch()

    def set_up(self, place: Path, url: str) -> None:
        raise NotImplementedError

    def command(self, scenario: Scenario, place: Path, upstream: Path, url: str) -> Sequence[str]:
        raise NotImplementedError

    def check(self, scenario: Scenario, place: Path, upstream: Path, run: Measured) -> None:
        """Compare how often each size is upstream and here: names differ from mirror to mirror."""
        files = UPSTREAMS[scenario.source].paths
        kept = {file.stat().st_size for file in (place / self.kept).rglob("*") if file.is_file()}
        expected = {(upstream / path).stat().st_size for path in files(upstream)}
        if expected - kept:
            raise RuntimeError(f"{self.name}: {len(expected - kept)} sizes of files are missing")
        count = sum(1 for file in (place / self.kept).rglob(self.what))
        if count < sum(1 for _ in files(upstream)):
            raise RuntimeError(f"{self.name}: only {count} packages are there")

    def own_seconds(self, run: Measured) -> float | None:
        return None


class Aptly(Mirror):
    """`aptly mirror update`."""

    name = "aptly"
    kept = "aptly/pool"

    def set_up(self, place: Path, url: str) -> None:
        settings = {
            "rootDir": str(place / "aptly"),
            "downloadConcurrency": CONCURRENCY,
            "gpgDisableVerify": True,
        }
        (place / "aptly.conf").write_text(json.dumps(settings))
        made = [*self._aptly(place), "mirror", "create", "-architectures=amd64", SUITE, url, SUITE]
        subprocess.run(made, cwd=place, check=True, capture_output=True)

    def command(self, scenario: Scenario, place: Path, upstream: Path, url: str) -> Sequence[str]:
        return [*self._aptly(place), "mirror", "update", SUITE]

    @staticmethod
    def _aptly(place: Path) -> list[str]:
        return ["aptly", f"-config={place / 'aptly.conf'}"]


class Debmirror(Mirror):
    """`debmirror`, which fetches file by file."""

    name = "debmirror"
    kept = "mirror"

    def set_up(self, place: Path, url: str) -> None:
        (place / "mirror").mkdir()
        # A file of Perl, which must be true.
        (place / "debmirror.conf").write_text("1;\n")

    def command(self, scenario: Scenario, place: Path, upstream: Path, url: str) -> Sequence[str]:
        where = ["--method=http", f"--host={urlsplit(url).netloc}", "--root=/"]
        what = [f"--dist={SUITE}", "--section=main", "--arch=amd64", "--no-source", "--i18n"]
        how = [
            "--no-check-gpg",
            "--rsync-extra=none",
            "--diff=none",
            f"--config-file={place}/debmirror.conf",
        ]
        return ["debmirror", *where, *what, *how, "mirror"]


class AptMirror(Mirror):
    """`apt-mirror`, which has wget processes fetch, and verifies no digest."""

    name = "apt-mirror"
    kept = "mirror"

    def set_up(self, place: Path, url: str) -> None:
        for folder in ("mirror", "skel", "var"):
            (place / folder).mkdir()
        settings = (
            f"set base_path {place}\nset mirror_path {place}/mirror\nset skel_path {place}/skel\n"
            f"set var_path {place}/var\nset nthreads {CONCURRENCY}\nset _tilde 0\n"
            f"set run_postmirror 0\ndeb-amd64 {url} {SUITE} main\n"
        )
        (place / "mirror.list").write_text(settings)

    def command(self, scenario: Scenario, place: Path, upstream: Path, url: str) -> Sequence[str]:
        return ["apt-mirror", "mirror.list"]


class Bandersnatch(Mirror):
    """`bandersnatch mirror`, of a whole index."""

    name = "bandersnatch"
    kept = "mirror/web/packages"
    what = "*.whl"

    def set_up(self, place: Path, url: str) -> None:
        (place / "mirror").mkdir()
        settings = (
            f"[mirror]\ndirectory = {place}/mirror\nmaster = {url}\nworkers = 10\ntimeout = 10\n"
            f"allow-non-https = true\napi-method = simple\ndownload-mirror = {url}\n"
            "json = false\nhash-index = false\nstop-on-error = true\nverifiers = 2\n"
            "compare-method = hash\nsimple-format = ALL\n"
        )
        (place / "bandersnatch.conf").write_text(settings)

    def command(self, scenario: Scenario, place: Path, upstream: Path, url: str) -> Sequence[str]:
        return ["bandersnatch", "--config", "bandersnatch.conf", "mirror"]
