import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowsync.errors import SettingsError
from flowsync.sources.pypi.options import PypiOptions
from flowsync.sources.pypi.requirements import Wanted, read_wanted
from tests.unit.sources.pypi.pages import sha256

A, B = (f"sha256:{sha256(letter)}" for letter in "ab")


def wanted(*paths: Path, **options: Any) -> Wanted:
    return read_wanted(PypiOptions(requirements=tuple(map(str, paths)), **options))


def of_text(folder: Path, text: str, name: str = "requirements.txt") -> Wanted:
    path = folder / name
    path.write_text(text)
    return wanted(path)


def short(found: Wanted) -> dict[str, list[tuple[str, set[str]]]]:
    return {
        name: [(wish.specifier, set(wish.hashes)) for wish in wishes]
        for name, wishes in found.projects.items()
    }


def test_projects_are_names_with_versions() -> None:
    found = read_wanted(
        PypiOptions(projects=("Fx.Weird_Name >=2,<3", "six[extra]; python_version>'3'", "six==1"))
    )

    assert not found.everything
    assert short(found) == {
        "fx-weird-name": [("<3,>=2", set())],
        "six": [("", set()), ("==1", set())],
    }


def test_a_star_wants_everything() -> None:
    found = read_wanted(PypiOptions(projects=(" * ", "six<2")))

    assert found.everything
    assert short(found) == {"six": [("<2", set())]}


def test_a_file_of_requirements(tmp_path: Path) -> None:
    text = f"""\
# a comment
--index-url https://index.example.org/simple
-i https://index.example.org/simple --pre
--require-hashes
six==1.16.0 \\
    --hash={A} \\
    --hash {B.upper().replace("SHA256", "sha256")} # via fx
Fx.Main>=2 ; sys_platform == "win32"   # another
fx-url @ https://files.example.org/fx.whl
https://files.example.org/fx-1.0.zip
git+https://git.example.org/fx.git#egg=fx
./folder
fx-1.0-py3-none-any.whl
-e .
--editable=git+https://git.example.org/fx.git
requests[socks]==2.*#not a comment
"""
    text = text.replace("==2.*#not a comment", "==2.*")

    found = of_text(tmp_path, text)

    assert short(found) == {
        "six": [("==1.16.0", {A, B})],
        "fx-main": [(">=2", set())],
        "requests": [("==2.*", set())],
    }
    assert [each.text for each in found.unfit] == [
        "fx-url @ https://files.example.org/fx.whl",
        "https://files.example.org/fx-1.0.zip",
        "git+https://git.example.org/fx.git#egg=fx",
        "./folder",
        "fx-1.0-py3-none-any.whl",
        ".",
        "git+https://git.example.org/fx.git",
    ]
    assert found.projects["six"][0].source == f"{tmp_path}/requirements.txt, line 5"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\ufeffsix", ["six"]),
        ("six\r\nfx\r\n", ["fx", "six"]),
        ("six\\\n==1", ["six"]),
        ("six \\\n# a comment\nfx", ["fx", "six"]),
        ("six\\", ["six"]),
        ("\\\n\\\n", []),
        ("#\\\nsix", ["six"]),
        ("", []),
    ],
)
def test_lines_and_comments(tmp_path: Path, text: str, expected: list[str]) -> None:
    assert sorted(of_text(tmp_path, text).projects) == expected


def test_files_name_others_beside_them(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more/b.txt").write_text("fx\n-r ../a.txt\n--constraint=c.txt\n-rd.txt")
    (tmp_path / "more/c.txt").write_text("six<2\nunasked==1\n")
    (tmp_path / "more/d.txt").write_text("-r b.txt\nacme")

    found = of_text(tmp_path, "six\n-r more/b.txt\n--requirement more/d.txt", "a.txt")

    assert sorted(found.projects) == ["acme", "fx", "six"]
    assert {
        name: [each.specifier for each in said] for name, said in found.constraints.items()
    } == {
        "six": ["<2"],
        "unasked": ["==1"],
    }


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("six\nx y", r"line 2: the line 'x y' is no requirement"),
        ("six >> 2", "line 1: .* is no requirement"),
        ("\n\n--new-thing", "line 3: '--new-thing' is no option of such a file"),
        ("-r", "line 1: option '-r' has no value"),
        ("-r https://files.example.org/r.txt", "line 1: .* is a URL"),
        ("six --hash=md5:00", "line 1: 'md5:00' is no hash"),
        ("six --hash=sha256:00", "line 1: 'sha256:00' is no hash"),
        ("six --hash", "line 1: '--hash' is no option"),
        ("six --unknown=1", "line 1: '--unknown' is no option of a requirement"),
        ("six --hash='", "line 1: No closing quotation"),
        ("-r gone.txt", "gone.txt cannot be read: No such file"),
        (f"{'a' * 129}", "line 1: .*: the name has more than 128 characters"),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(SettingsError, match=reason):
        of_text(tmp_path, text)


def test_a_file_in_another_encoding_is_named(tmp_path: Path) -> None:
    path = tmp_path / "requirements.txt"
    path.write_bytes(b"six\xff")

    with pytest.raises(SettingsError, match="it is not UTF-8"):
        wanted(path)


def test_a_pylock(tmp_path: Path) -> None:
    text = f"""
lock-version = "1.0"
created-by = "x"
[[packages]]
name = "six"
version = "1.16.0"
sdist = {{ url = "https://files.example.org/six.tar.gz", hashes = {{ sha256 = "{A[7:]}" }} }}
wheels = [{{ name = "six.whl", hashes = {{ sha256 = "{B[7:].upper()}", md5 = "00" }} }}]
[[packages]]
name = "fx"
vcs = {{ type = "git", url = "https://git.example.org/fx.git", commit-id = "0" }}
[[packages]]
name = "acme"
version = "2"
"""
    for name in ("pylock.toml", "pylock.dev.toml"):
        found = of_text(tmp_path, text, name)

        assert short(found) == {"six": [("==1.16.0", {A, B})], "acme": [("==2", set())]}
        assert [each.text for each in found.unfit] == ["fx"]
    with pytest.raises(SettingsError, match=r"its lock-version is '2\.0'"):
        of_text(tmp_path, 'lock-version = "2.0"', "pylock.toml")


def test_a_lock_of_uv(tmp_path: Path) -> None:
    text = f"""
version = 1
revision = 3
requires-python = ">=3.11"
[[package]]
name = "mine"
version = "0.1.0"
source = {{ virtual = "." }}
dependencies = [{{ name = "six" }}]
[[package]]
name = "six"
version = "1.16.0"
source = {{ registry = "https://index.example.org/simple" }}
sdist = {{ url = "https://files.example.org/six.tar.gz", hash = "{A}", size = 34041 }}
wheels = [
    {{ url = "https://files.example.org/six.whl", hash = "{B}", size = 11053 }},
]
[[package]]
name = "fx"
version = "1"
source = {{ git = "https://git.example.org/fx.git#0" }}
"""
    found = of_text(tmp_path, text, "uv.lock")

    assert short(found) == {"six": [("==1.16.0", {A, B})]}
    assert [(each.text, each.reason) for each in found.unfit] == [
        ("fx", "it comes from no index (git)")
    ]
    with pytest.raises(SettingsError, match="its version is 2"):
        of_text(tmp_path, "version = 2", "uv.lock")


def test_a_lock_of_poetry(tmp_path: Path) -> None:
    text = f"""
[[package]]
name = "six"
version = "1.16.0"
optional = false
files = [
    {{file = "six.whl", hash = "{A}"}},
    {{file = "six.tar.gz", hash = "{B}"}},
]
[[package]]
name = "old"
version = "1.0"
[[package]]
name = "fx"
version = "1"
[package.source]
type = "git"
url = "https://git.example.org/fx.git"
[metadata]
lock-version = "2.0"
[metadata.files]
old = [{{file = "old.whl", hash = "{B}"}}]
"""
    found = of_text(tmp_path, text, "poetry.lock")

    assert short(found) == {"six": [("==1.16.0", {A, B})], "old": [("==1.0", {B})]}
    assert [each.text for each in found.unfit] == ["fx"]


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "version = 'x'",
        "version = 1\npackage = 3",
        "version = 1\n[[package]]\nname = '../x'\nsource = {registry='x'}",
        "version = 1\n[[package]]\nname = 'x'\nversion = 'a b'\nsource = {registry='x'}",
        f"a = {'[' * 5000}",
    ],
)
def test_bad_locks_are_named(tmp_path: Path, text: str) -> None:
    with pytest.raises(SettingsError, match=r"uv\.lock"):
        of_text(tmp_path, text, "uv.lock")


def test_the_fingerprint_is_that_of_what_is_wanted(tmp_path: Path) -> None:
    first = of_text(tmp_path, f"six==1 --hash={A}\nfx")
    same = of_text(tmp_path, f"# moved\nfx\nSix==1 --hash={A}\nfx")
    other = of_text(tmp_path, f"six==1 --hash={B}\nfx")

    assert first.fingerprint() == same.fingerprint()
    assert first.fingerprint() != other.fingerprint()
    assert first.fingerprint() != read_wanted(PypiOptions(projects=("*",))).fingerprint()
    assert json.dumps(first.fingerprint())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.text("six=1.0#\\\n -rec'\"<>[];@/:~\r\t", max_size=40) | st.text(max_size=20))
def test_any_text_is_read_or_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "requirements.txt"
    path.write_bytes(text.encode(errors="surrogatepass"))
    try:
        found = wanted(path)
    except SettingsError as error:
        assert str(tmp_path) in str(error)  # noqa: PT017 - either is right
    else:
        assert found.fingerprint()
