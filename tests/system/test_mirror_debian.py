"""The page on mirrors of Debian runs as it stands. Only the world is another one: a small archive
in place of Debian's, a free port, and an apt that keeps all of its files in a folder.
"""

import os
import re
import shutil
import socket
import sys
from pathlib import Path

import pytest

from flowsync.packages.openpgp import SigningKey
from scripts.debian_archive import package, write_archive
from tests.system.command import REPOSITORY, CommandLine
from tests.upstream.server import Upstream

pysequoia = pytest.importorskip("pysequoia")

PAGE = REPOSITORY / "docs/mirror-debian.md"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
TOOLS = ("apt-get", "curl", "dpkg", "gpg", "gpgconf", "gpgv")
LACKING = [tool for tool in TOOLS if shutil.which(tool) is None]


def write_debian(folder: Path) -> Path:
    """Write an archive that is called as Debian's; return its certificate's file."""
    key = pysequoia.Tsk.generate("Debian <debian@example.org>")
    packages = [package("hello", "2.10-3", Depends="libc"), package("libc"), package("other")]
    for suite in ("bookworm", "bookworm-updates"):
        write_archive(folder, suite, {"main": packages}, SigningKey(key))
    keyring = folder.parent / "archive.gpg"
    keyring.write_bytes(bytes(key.extract_certificate()))
    return keyring


def write_programs(folder: Path, apt: Path) -> None:
    """Write programs that stand in for those of a machine of one's own."""
    for below in (
        *("etc/apt.conf.d", "etc/preferences.d", "etc/sources.list.d", "etc/keyrings", "installed"),
        *("etc/trusted.gpg.d", "lists/partial", "cache/archives/partial", "log"),
        *("dpkg/info", "dpkg/updates"),
    ):
        (apt / below).mkdir(parents=True)
    (apt / "dpkg/status").touch()
    options = [
        f"Dir::Etc={apt}/etc",
        f"Dir::State={apt}",
        f"Dir::State::Lists={apt}/lists",
        f"Dir::State::status={apt}/dpkg/status",
        f"Dir::Cache={apt}/cache",
        f"Dir::Log={apt}/log",
        "APT::Sandbox::User=root",
        "APT::Architecture=amd64",
        "Acquire::Check-Date=true",
        "Acquire::Check-Valid-Until=true",
        "Acquire::http::Proxy=DIRECT",
        "Debug::NoLocking=1",
        f"DPkg::Options::=--admindir={apt}/dpkg",
        f"DPkg::Options::=--instdir={apt}/installed",
        f"DPkg::Options::=--log={apt}/log/dpkg",
    ]
    words = " ".join(f"-o '{option}'" for option in options)
    folder.mkdir()
    for name, line in {
        "flowsync": f'exec "{sys.executable}" -m flowsync "$@"',
        "sudo": 'exec "$@"',
        "apt-get": f'exec {shutil.which("apt-get")} --quiet {words} "$@"',
    }.items():
        (folder / name).write_text(f"#!/bin/sh\n{line}\n")
        (folder / name).chmod(0o755)


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def script_of(page: str, port: int, name: str = "debian") -> str:
    """Return what the page tells a reader to type, as a script that ends at the first failure.
    `name` is that of a repository, by which it is seen that the server answers.
    """
    lines = ["set -e"]
    for kind, block in re.findall(r"^```(console|toml)\n(.*?)^```", page, re.MULTILINE | re.DOTALL):
        if kind == "toml":
            lines.append(f"cat >>flowsync.toml <<'END'\n{block}END")
            continue
        for line in re.findall(r"^\$ (.*)", block, re.MULTILINE):
            lines.append(line)
            if line.endswith("&"):
                answers = f"curl --silent --output /dev/null http://127.0.0.1:{port}/{name}/"
                lines.append(f"trap 'kill $!' EXIT; until {answers}; do sleep 0.1; done")
    return "\n".join(lines)


@pytest.mark.timeout(120)
@pytest.mark.skipif(bool(LACKING), reason=f"{', '.join(LACKING)} is not installed")
@pytest.mark.skipif(os.geteuid() != 0, reason="dpkg installs as root only")
def test_the_page_leads_from_nothing_to_a_client_that_installs(
    flowsync: CommandLine, upstream: Upstream, tmp_path: Path
) -> None:
    keyring = write_debian(tmp_path / "archive")
    upstream.serve(tmp_path / "archive", at="/debian")
    apt, programs, port = tmp_path / "apt", tmp_path / "programs", free_port()
    write_programs(programs, apt)
    page = PAGE.read_text()
    for stands, here in {
        "https://mirror.example.org/debian": upstream.url("/debian"),
        KEYRING: str(keyring),
        "/etc/apt/": f"{apt}/etc/",
        "127.0.0.1:8080": f"127.0.0.1:{port}",
        "flowsync serve": f"flowsync serve --bind 127.0.0.1:{port}",
    }.items():
        assert stands in page
        page = page.replace(stands, here)
    (tmp_path / "typed.sh").write_text(script_of(page, port))
    path = f"{programs}:{os.environ['PATH']}"
    del flowsync.environment["FLOWSYNC_HOME"]

    typed = flowsync.start_program(["bash", "typed.sh"], env={"PATH": path, "LC_ALL": "C"})
    done = typed.wait(timeout=110)

    assert done.status == 0, done.out + done.err
    assert "debian: upstream is unchanged, skipped" in done.out
    assert "pool/main/l/libc" in done.out
    assert "pool/main/o/other" not in done.out
    assert (apt / "installed/usr/share/hello/about").read_text() == "hello 2.10-3\n"
    assert "W: " not in done.out + done.err
