"""Text files as editors, browsers and other systems leave them: with byte-order marks, in other
encodings, with dots, or no manifest at all.
"""

import hashlib

import pytest

from tests.system.command import CommandLine
from tests.upstream.server import Upstream

LINE = f"a,{hashlib.sha256(b'1').hexdigest()},1"


def test_a_byte_order_mark_and_dots_are_no_part_of_a_path(
    flowsync: CommandLine, upstream: Upstream
) -> None:
    upstream.put("/a", b"1")
    url = upstream.put("/PULP_MANIFEST", f"\ufeff./{LINE}\r\n".encode())
    (flowsync.folder / "flowsync.toml").write_bytes(
        f'\ufeff[repositories.files]\r\nsource = "file"\r\nurl = "{url}"\r\n'.encode()
    )

    done = flowsync.run("sync", "files")
    shown = flowsync.run("show", "files")

    assert done.status == 0, done.err
    assert shown.out.splitlines()[0].endswith("  a")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"<!DOCTYPE HTML>\n<html><body>a</body></html>", "it is a line of an HTML or XML page"),
        (b"\n" + b"<html>" * 20_000, "must end with a slash"),
        (LINE.encode("utf-16"), "the manifest is UTF-16 text; it must be UTF-8"),
        (f"{LINE}\n{LINE}\n./{LINE}2\n".encode(), "manifest lines 1 and 3 contradict each other"),
    ],
)
def test_what_is_no_manifest_is_called_what_it_is(
    flowsync: CommandLine, upstream: Upstream, content: bytes, said: str
) -> None:
    url = upstream.put("/files", content)

    done = flowsync.run("sync", "file", url, "-r", "files")

    assert done.status == 1
    assert said in done.err
    assert upstream.count() == 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('home = "x"'.encode("utf-16"), "it is UTF-16 text; it must be UTF-8"),
        (b'\nhome = "caf\xe9"', "line 2 is not UTF-8 text"),
    ],
)
def test_settings_in_another_encoding_are_called_that(
    flowsync: CommandLine, content: bytes, said: str
) -> None:
    (flowsync.folder / "flowsync.toml").write_bytes(content)

    done = flowsync.run("status")

    assert done.status == 2
    assert said in done.err
    assert "Traceback" not in done.err
