"""What packages need, beside what apt would install: apt decides in an archive of random packages,
and must do so in what is kept of it.
"""

import random
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from flowsync.sources.deb.cut.closure import Place
from flowsync.sources.deb.cut.filters import Filters, Selection, facts_of
from tests.integration.sources.deb.conftest import needs

PLACE = Place("./", "")
PACKAGES = 80
SEEDS = range(3)
ROOTS = 12


class FlatApt:
    """`apt-get` of a folder without signatures."""

    def __init__(self, root: Path) -> None:
        self.archive = root / "archive"
        for folder in (
            *("archive", "etc/apt.conf.d", "etc/preferences.d", "etc/trusted.gpg.d"),
            *("etc/sources.list.d", "lists/partial", "cache/archives/partial", "dpkg"),
        ):
            (root / folder).mkdir(parents=True)
        (root / "dpkg/status").touch()
        (root / "etc/sources.list").write_text(f"deb [trusted=yes] file:{self.archive} ./\n")
        options = {
            "Dir::Etc": root / "etc",
            "Dir::State": root,
            "Dir::State::Lists": root / "lists",
            "Dir::State::status": root / "dpkg/status",
            "Dir::Cache": root / "cache",
            "APT::Sandbox::User": "root",
            "APT::Architecture": "amd64",
            "APT::Install-Recommends": "false",
        }
        self._words = ["apt-get", "-q"]
        self._words += [each for pair in options.items() for each in ("-o", "{}={}".format(*pair))]

    def offer(self, texts: Sequence[bytes]) -> None:
        (self.archive / "Packages").write_bytes(b"".join(text + b"\n\n" for text in texts))
        subprocess.run([*self._words, "update"], capture_output=True, check=True)

    def install(self, name: str) -> list[str] | None:
        """What would be installed; `None` when that is impossible."""
        done = subprocess.run(
            [*self._words, "-s", "install", name], capture_output=True, check=False, text=True
        )
        return (
            re.findall(r"^Inst (\S+)", done.stdout, re.MULTILINE) if done.returncode == 0 else None
        )


def random_archive(chance: random.Random) -> list[bytes]:
    names = [f"p{number}" for number in range(PACKAGES)]
    virtual = [f"v{number}" for number in range(8)]

    def need() -> str:
        alternatives = []
        for _ in range(chance.choice([1, 1, 1, 2, 3])):
            name = chance.choice([*names, *virtual, "gone"])
            relation = chance.choice(["<<", "<=", "=", ">=", ">="])
            version = f" ({relation} {chance.choice('123')})" if chance.random() < 0.3 else ""
            # Of any architecture are packages that allow it.
            alternatives.append(f"{name}{':any' if name in names[:10] else ''}{version}")
        return " | ".join(alternatives)

    def text(name: str, version: str) -> bytes:
        fields = {
            "Package": name,
            "Version": version,
            "Architecture": "amd64" if name in names[:10] else chance.choice(["amd64", "all"]),
            "Multi-Arch": "allowed" if name in names[:10] else "",
            "Priority": chance.choice(["required", "important", "optional", "extra"]),
            "Depends": ", ".join(need() for _ in range(chance.choice([0, 0, 0, 1, 1, 2, 3]))),
            "Provides": chance.choice(["", "", "", *virtual, f"{chance.choice(virtual)} (= 2)"]),
            "Filename": f"pool/{name}_{version}.deb",
            "Size": "1",
            "SHA256": "0" * 64,
        }
        return "\n".join(f"{name}: {value}" for name, value in fields.items() if value).encode()

    return [
        text(name, version)
        for name in names
        for version in sorted(chance.sample("123", chance.choice([1, 1, 1, 2])))
    ]


def kept(texts: Sequence[bytes], name: str) -> list[bytes]:
    selection = Selection(Filters(include=[name]), with_dependencies=True)
    facts = [facts_of(number, text) for number, text in enumerate(texts, 1)]
    for each in facts:
        selection.see(PLACE, each)
    return [
        text for text, each in zip(texts, facts, strict=True) if selection.judge(PLACE, each).kept
    ]


@needs("apt-get")
def test_apt_installs_from_what_is_kept_what_it_installs_from_all(tmp_path: Path) -> None:
    impossible = []
    installed = 0
    for seed in SEEDS:
        chance = random.Random(seed)
        (tmp_path / str(seed)).mkdir()
        apt = FlatApt(tmp_path / str(seed))
        texts = random_archive(chance)
        apt.offer(texts)
        roots = [f"p{number}" for number in chance.sample(range(PACKAGES), ROOTS)]
        possible = [root for root in roots if apt.install(root) is not None]
        for root in possible:
            some = kept(texts, root)
            apt.offer(some)
            found = apt.install(root)
            if found is None:
                impossible.append((seed, root, len(some)))
            else:
                installed += len(found)

    assert impossible == []
    assert installed > 20
