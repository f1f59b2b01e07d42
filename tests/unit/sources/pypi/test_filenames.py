import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from packaging.tags import parse_tag
from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    parse_sdist_filename,
    parse_wheel_filename,
)

from flowsync.sources.pypi.pages.filenames import (
    FileName,
    FilenameError,
    read_filename,
    read_version,
    version_of,
)
from flowsync.sources.pypi.pages.names import problem_with_filename, problem_with_name

PARTS = st.sampled_from(
    ["fx", "Fx_Main", "fx.main", "a__b", "1.0", "2.0rc1", "1!3", "1.0+l.1", "v1", "x", "3",
     "1build", "py3", "py2.py3", "cp38", "none", "any", "abi3", "win_amd64", "manylinux1_x86_64",
     "", ".", "3x"]
)  # fmt: skip


@given(st.lists(PARTS, min_size=1, max_size=7).map("-".join))
@example("fx-1.0-py3-none-any")
@example("fx-1.0-1-py2.py3-none-manylinux1_x86_64.manylinux_2_5_x86_64")
def test_wheels_are_read_as_packaging_reads_them(stem: str) -> None:
    filename = f"{stem}.whl"
    try:
        project, version, _, tags = parse_wheel_filename(filename)
    except InvalidWheelFilename:
        with pytest.raises(FilenameError):
            read_filename(filename, "fx")
        return
    if problem_with_filename(filename) or problem_with_name(stem.partition("-")[0]):
        with pytest.raises(FilenameError):
            read_filename(filename, project)
        return

    found = read_filename(filename, project)

    assert (found.project, found.version, found.kind) == (project, str(version), "wheel")
    assert parse_tag(found.tags) == tags


@given(st.lists(PARTS, min_size=1, max_size=4).map("-".join), st.sampled_from([".tar.gz", ".zip"]))
def test_source_archives_are_read_as_packaging_reads_them(stem: str, ending: str) -> None:
    filename = stem + ending
    try:
        project, version = parse_sdist_filename(filename)
    except InvalidSdistFilename:
        return
    if problem_with_name(stem.rpartition("-")[0]):
        return

    assert read_filename(filename, project) == FileName(project, str(version), "sdist")


@pytest.mark.parametrize(
    ("filename", "expected"),
    [
        ("Fx.Weird_Name-1.0.tar.gz", FileName("fx-weird-name", "1.0", "sdist")),
        ("fx-weird-name-1.0-1.zip", FileName("fx-weird-name", "1.0.post1", "sdist")),
        ("fx_weird_name-1.0.tar.bz2", FileName("fx-weird-name", "1.0", "sdist")),
        (
            "fx_weird_name-01.0-cp38-cp38-win_amd64.whl",
            FileName("fx-weird-name", "1.0", "wheel", "cp38-cp38-win_amd64"),
        ),
        ("fx_weird_name-1.0-py2.7.egg", FileName("fx-weird-name", "1.0", "egg", "py27-none-any")),
        (
            "fx_weird_name-1.0-py2.7-linux-x86_64.egg",
            FileName("fx-weird-name", "1.0", "egg", "py27-none-linux_x86_64"),
        ),
        (
            "fx-weird-name-1.0.win-amd64-py3.5.exe",
            FileName("fx-weird-name", "1.0", "exe", "py35-none-win_amd64"),
        ),
        ("fx-weird-name-1.0.win32.msi", FileName("fx-weird-name", "1.0", "msi", "py-none-win32")),
        ("fx-weird-name-1.0-1.noarch.rpm", FileName("fx-weird-name", "1.0", "rpm", "py-none-any")),
    ],
)
def test_what_a_filename_says(filename: str, expected: FileName) -> None:
    assert read_filename(filename, "fx-weird-name") == expected


@pytest.mark.parametrize(
    ("filename", "rule"),
    [
        ("../x", "filename"),
        ("a/../fx-1.0.tar.gz", "filename"),
        ("fx-1.0\0.tar.gz", "filename"),
        ("fx-1.0é.tar.gz", "filename"),
        (f"fx-{'1' * 300}.tar.gz", "filename"),
        ("fx-1.0.exe.asc", "filename"),
        ("fx-1.0.deb", "filename"),
        ("fx-1.0-py3-none.whl", "filename"),
        ("fx-1.0-x1-py3-none-any.whl", "filename"),
        ("fx-1.0-3-none-any.whl", "filename"),
        ("fx-1.0-py2..py3-none-any.whl", "filename"),
        ("fx-1.0.exe", "filename"),
        ("other-1.0.tar.gz", "project"),
        ("fxx-1.0.tar.gz", "project"),
        ("fx.tar.gz", "project"),
        ("other-1.0-py3-none-any.whl", "project"),
        ("fx-1.0.linux-x86_64.tar.gz", "version"),
        ("fx-x-py3-none-any.whl", "version"),
    ],
)
def test_names_that_cannot_be_used_are_refused_by_rule(filename: str, rule: str) -> None:
    with pytest.raises(FilenameError) as error:
        read_filename(filename, "fx")

    assert error.value.rule == rule


def test_versions_have_one_spelling() -> None:
    assert read_version("V1.0-RC1") == read_version("1.0.rc1") == "1.0rc1"
    assert read_version("1.0.0") == "1.0.0"
    assert read_version("x") is None
    assert read_version("1" * 129) is None
    assert version_of("2.0") < version_of("10.0")
