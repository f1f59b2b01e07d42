"""The page on mirrors of PyPI runs as it stands. Only the world is another one: a small index in
place of PyPI, and a free port.
"""

import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from scripts.python_index import wheel
from tests.integration.sources.pypi.conftest import FakeIndex, has_module
from tests.system.command import REPOSITORY, CommandLine
from tests.system.test_mirror_debian import free_port, script_of
from tests.upstream.server import Upstream

PAGE = REPOSITORY / "docs/mirror-pypi.md"


@pytest.mark.timeout(120)
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.skipif(not has_module("pip"), reason="pip is not installed")
def test_the_page_leads_from_nothing_to_a_client_that_installs(
    flowsync: CommandLine, upstream: Upstream, tmp_path: Path
) -> None:
    index = FakeIndex(upstream)
    index.put("requests", *(wheel("requests", version) for version in ("2.30.0", "2.31.0", "2.32")))
    index.put("flask", wheel("flask", "3.0"), wheel("flask", "3.1"), wheel("flask", "2.0"))
    index.put("acme-tool", wheel("acme-tool"))
    index.put("thing-nightly", wheel("thing-nightly"))
    port, programs = free_port(), tmp_path / "programs"
    programs.mkdir()
    for name in ("flowsync", "pip"):
        (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" -m {name} "$@"\n')
        (programs / name).chmod(0o755)
    page = PAGE.read_text()
    for stands, here in {
        "https://pypi.example.org/simple/": index.url,
        "127.0.0.1:8080": f"127.0.0.1:{port}",
        "flowsync serve": f"flowsync serve --bind 127.0.0.1:{port}",
    }.items():
        assert stands in page
        page = page.replace(stands, here)
    (tmp_path / "typed.sh").write_text(script_of(page, port, "python"))
    path = f"{programs}:{os.environ['PATH']}"
    del flowsync.environment["FLOWSYNC_HOME"]

    environment = {"PATH": path, "PIP_CONFIG_FILE": "/dev/null", "PIP_NO_CACHE_DIR": "1"}
    typed = flowsync.start_program(["bash", "typed.sh"], env=environment)
    done = typed.wait(timeout=110)

    assert done.status == 0, done.out + done.err
    assert "python: upstream is unchanged, skipped; 7 units present" in done.out
    assert (tmp_path / "installed/requests.py").read_text() == 'version = "2.32"\n'
    assert [file.name for file in (tmp_path / "pinned").iterdir()] == [
        "requests-2.31.0-py3-none-any.whl"
    ]
    careful = done.out.partition("careful: version 1")[2]
    assert "flask" in careful
    assert "acme" not in careful
    assert "nightly" not in careful


def test_why_tells_which_option_keeps_a_file_out(
    flowsync: CommandLine, upstream: Upstream, tmp_path: Path
) -> None:
    index = FakeIndex(upstream)
    index.put("requests", wheel("requests"))
    (flowsync.folder / "flowsync.toml").write_text(
        f'[repositories.python]\nsource = "pypi"\nurl = "{index.url}"\n'
        '[repositories.python.options]\nprojects = ["*"]\nprivate = ["acme-*"]\n'
        'formats = ["wheel"]\n'
    )
    assert flowsync.run("sync").status == 0

    private = flowsync.run("why", "python", "files/acme-tool/acme_tool-1.0-py3-none-any.whl")
    sdist = flowsync.run("why", "python", "files/requests/requests-1.0.tar.gz", "--json")
    other = flowsync.run("why", "python", "files/requests/requests-2.0-py3-none-any.whl")

    assert (private.status, sdist.status, other.status) == (1, 1, 1)
    assert "left out by `private`" in private.out
    assert "left out by `formats`" in json.loads(sdist.out)["rule"]
    assert "left out" not in other.out
