from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from packaging.specifiers import InvalidSpecifier, SpecifierSet

from flowsync.sources.pypi.options import PypiOptions
from flowsync.sources.pypi.pages.page import Page, read_page
from flowsync.sources.pypi.requirements import read_wanted
from flowsync.sources.pypi.selection import Selected, Selection, is_internal
from tests.unit.sources.pypi.pages import JSON, URL, entry, json_page, sha256

NOW = datetime(2026, 12, 1, 10, tzinfo=UTC)


def wheel(version: str, tags: str = "py3-none-any", **fields: Any) -> dict[str, Any]:
    return entry(f"fx-{version}-{tags}.whl", **fields)


def page_of(*files: dict[str, Any], url: str = URL) -> Page:
    return read_page(json_page(*files), JSON, url, "fx")


def rules(**options: Any) -> Selection:
    given = PypiOptions(**{"projects": ("*",), **options})
    return Selection(given, read_wanted(given), NOW)


def select(*files: dict[str, Any], **options: Any) -> Selected:
    return rules(**options).select(page_of(*files), "fx")


def taken(selected: Selected) -> list[str]:
    return [file.filename for file in selected.files]


def versions(selected: Selected) -> list[str]:
    return list(dict.fromkeys(file.version for file in selected.files))


def refused(selected: Selected) -> dict[str, str]:
    return {each.filename: each.rule for each in selected.refused}


def test_all_is_taken_unless_said_otherwise() -> None:
    selected = select(
        wheel("1.0"), wheel("2.0rc1", yanked="x"), wheel("0.1", "cp27-cp27m-win32"),
        entry("fx-1.0.tar.gz", size=None, upload_time=None),
    )  # fmt: skip

    assert len(selected.files) == 4
    assert selected.refused == ()
    assert selected.due is None


def test_what_the_page_refused_is_told_too() -> None:
    selected = select(wheel("1.0"), entry("../x"), entry("other-1.0.zip"))

    assert refused(selected) == {"../x": "filename", "other-1.0.zip": "project"}


# --- projects ---------------------------------------------------------------------------------


def test_specifiers_of_a_project_add_up() -> None:
    files = [wheel(version) for version in ("1.0", "1.5", "2.0", "3.0rc1", "4.0")]

    selected = select(*files, projects=("fx<1.2", "Fx==2.0", "fx>=3.0rc1,<4"))

    assert versions(selected) == ["1.0", "2.0", "3.0rc1"]
    assert refused(selected)["fx-1.5-py3-none-any.whl"] == "projects"


def test_a_project_that_is_not_asked_for() -> None:
    selected = select(wheel("1.0"), projects=("other",))

    assert selected.files == ()
    assert refused(selected) == {"fx-1.0-py3-none-any.whl": "projects"}
    assert rules(projects=("other",)).refusal_of_project("fx") is not None
    assert rules(projects=("*", "other<2")).refusal_of_project("fx") is None


def test_private_projects_are_never_taken() -> None:
    for options in ({"projects": ("fx",)}, {"projects": ("*",)}, {"projects": ("fx==1.0",)}):
        for private in (("fx",), ("F*",), ("Fx",)):
            selected = select(wheel("1.0"), private=private, **options)
            assert refused(selected) == {"fx-1.0-py3-none-any.whl": "private"}
    assert rules(private=("acme_*",)).refusal_of_project("acme-tools") is not None
    assert rules(private=("acme_*",)).refusal_of_project("acme") is None


def test_projects_and_versions_are_excluded() -> None:
    files = [wheel("1.0"), wheel("2.0"), wheel("3.0a1")]

    assert versions(select(*files, exclude=("FX<2",))) == ["2.0", "3.0a1"]
    assert versions(select(*files, exclude=("fx>=2",))) == ["1.0"]
    for line in ("fx", "f*", "F?", "fx[extra]"):
        assert set(refused(select(*files, exclude=(line,))).values()) == {"exclude"}
    assert len(select(*files, exclude=("other", "x*")).files) == 3


def test_expressions_match_whole_names_of_projects_and_files() -> None:
    files = [wheel("1.0"), entry("fx-1.0.zip")]

    assert taken(select(*files, exclude_regex=(r".*\.zip",))) == ["fx-1.0-py3-none-any.whl"]
    assert len(select(*files, exclude_regex=("f", r"\.zip")).files) == 2
    assert set(refused(select(*files, exclude_regex=("f.",))).values()) == {"exclude_regex"}


# --- requirements -----------------------------------------------------------------------------


def of_requirements(folder: Path, text: str, **options: Any) -> Selection:
    path = folder / "requirements.txt"
    path.write_text(text)
    return rules(projects=(), requirements=(str(path),), **options)


def test_of_pinned_hashes_just_those_files_are_taken(tmp_path: Path) -> None:
    files = [
        wheel("1.0"),
        wheel("1.0", "cp311-cp311-win_amd64"),
        entry("fx-1.0.tar.gz"),
        wheel("2.0"),
    ]
    wanted = [files[0]["filename"], files[2]["filename"]]
    line = "fx==1.0 " + " ".join(f"--hash=sha256:{sha256(name)}" for name in wanted)

    selected = of_requirements(tmp_path, line).select(page_of(*files), "fx")

    assert taken(selected) == wanted
    assert set(refused(selected).values()) == {"requirements"}


def test_pinned_hashes_may_be_of_another_algorithm(tmp_path: Path) -> None:
    file = wheel("1.0", hashes={"sha256": "a" * 64, "sha512": "b" * 128})

    selected = of_requirements(tmp_path, f"fx==1 --hash=sha512:{'b' * 128}").select(
        page_of(file), "fx"
    )

    assert len(selected.files) == 1


def test_constraints_take_versions_away(tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_text("fx<3\nfx!=1.0\nother==1")
    selection = of_requirements(tmp_path, "fx\n-c c.txt")

    selected = selection.select(page_of(wheel("1.0"), wheel("2.0"), wheel("3.0")), "fx")

    assert versions(selected) == ["2.0"]
    assert set(refused(selected).values()) == {"requirements"}
    assert selection.refusal_of_project("other") is not None


# --- kinds of files ---------------------------------------------------------------------------


def test_eggs_are_left_out_unless_asked_for() -> None:
    files = [wheel("1.0"), entry("fx-1.0-py2.7.egg"), entry("fx-1.0.zip")]

    selected = select(*files)

    assert refused(selected) == {"fx-1.0-py2.7.egg": "formats"}
    assert selected.refusal_of("fx-1.0-py2.7.egg").in_words() == (  # type: ignore[union-attr]
        "left out by `formats`: it is of the kind 'egg'"
    )
    assert selected.refusal_of("fx-1.0.zip") is None
    assert len(select(*files, formats=("egg", "sdist")).files) == 2


TAGGED = {
    "py3-none-any": True,
    "py2.py3-none-any": True,
    "py2-none-any": False,
    "cp38-cp38-manylinux1_x86_64": False,
    "cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64": True,
    "cp311-cp311-win_amd64": False,
    "cp311-cp311-macosx_10_9_x86_64": False,
    "cp311-cp311-musllinux_1_1_x86_64": True,
    "cp36-abi3-manylinux1_x86_64": True,
    "cp37-abi3-win_amd64": False,
    "cp312-abi3-linux_x86_64": False,
    "cp312-abi3.cp311-linux_x86_64": False,
    "cp311-none-any": True,
    "cp310-none-any": False,
    "py311-none-any": True,
    "py310-none-linux_x86_64": True,
    "py312-none-any": False,
    "pp311-pypy311_pp73-manylinux1_x86_64": False,
    "cp311-cp311t-linux_x86_64": False,
    "CP311-cp311-Linux_x86_64": True,
}


def test_platforms_and_versions_of_python() -> None:
    files = [wheel("1.0", tags) for tags in TAGGED] + [entry("fx-1.0.tar.gz")]

    selected = select(*files, platforms=("linux",), pythons=("3.11",))

    expected = [f"fx-1.0-{tags}.whl" for tags, wanted in TAGGED.items() if wanted]
    assert taken(selected) == [*expected, "fx-1.0.tar.gz"]
    assert refused(selected)["fx-1.0-cp311-cp311-win_amd64.whl"] == "platforms"
    assert refused(selected)["fx-1.0-cp38-cp38-manylinux1_x86_64.whl"] == "pythons"


@pytest.mark.parametrize(
    ("python", "tags"),
    [
        ("3.13t", "cp313-cp313t-linux_x86_64"),
        ("2.7", "cp27-cp27mu-manylinux1_x86_64"),
        ("3.7", "cp37-cp37m-win32"),
        ("3.8", "cp38-cp38-win32"),
        ("pypy3.10", "pp310-pypy310_pp73-win_amd64"),
        ("pypy3.10", "py3-none-any"),
        ("3.14", "cp35-abi3-win32"),
    ],
)
def test_a_version_of_python_runs_what_is_made_for_it(python: str, tags: str) -> None:
    assert len(select(wheel("1.0", tags), pythons=(python,)).files) == 1
    assert len(select(wheel("1.0", tags), pythons=("3.11", python)).files) == 1


@pytest.mark.parametrize("platform", ["win_amd64", "windows", "win*", "WIN_AMD64"])
def test_platforms_are_names_or_patterns(platform: str) -> None:
    files = [wheel("1.0", "cp311-cp311-win_amd64"), wheel("1.0", "cp311-cp311-macosx_11_0_arm64")]

    assert taken(select(*files, platforms=(platform,))) == ["fx-1.0-cp311-cp311-win_amd64.whl"]


@pytest.mark.parametrize(
    "requires",
    [">=3.8", "<3.11", ">=3.11.4", "==3.11.4", "!=3.11.0", ">=3.12", "<=3.11", ">3.11", "~=3.11.2",
     "==3.11.*", "!=3.11.*", ">=2.7, !=3.0.*, !=3.1.*", ">=3.11.5,<3.11.6", "<3.11.1", "x", "3.8",
     ">=3.8,", "===3.11.7", "<4", ">=4"],
)  # fmt: skip
def test_what_a_file_requires_counts_where_it_can_be_read(requires: str) -> None:
    try:
        specifier = SpecifierSet(requires)
    except InvalidSpecifier:
        expected = True
    else:
        expected = any(specifier.contains(f"3.11.{micro}") for micro in range(100))

    selected = select(wheel("1.0", requires_python=requires), pythons=("3.11",))

    assert (len(selected.files) == 1) is expected
    assert set(refused(selected).values()) <= {"pythons"}


def test_what_requires_too_much_to_be_meant_is_taken() -> None:
    requires = ",".join(f"!=9.{number}" for number in range(300)) + ",<3"

    assert len(select(wheel("1.0", requires_python=requires), pythons=("3.11",)).files) == 1


# --- releases ---------------------------------------------------------------------------------


def test_prereleases_are_left_out_but_for_those_that_are_named() -> None:
    files = [wheel(version) for version in ("1.0", "2.0rc1", "2.0.dev1", "3.0a1")]

    assert versions(select(*files, prereleases=False)) == ["1.0"]
    assert set(refused(select(*files, prereleases=False)).values()) == {"prereleases"}
    for line in ("fx==3.0a1", "fx>=3.0a1"):
        selected = select(*files, prereleases=False, projects=("fx<2", line))
        assert versions(selected) == ["1.0", "3.0a1"]


def test_the_newest_releases_are_taken_whole() -> None:
    files = [
        wheel("1.0"),
        wheel("10.0"),
        entry("fx-10.0.tar.gz"),
        wheel("9.0"),
        wheel("11.0", yanked="bad"),
        wheel("9.5", yanked="one of two"),
        entry("fx-9.5.tar.gz"),
    ]

    selected = select(*files, newest=2)

    assert versions(selected) == ["10.0", "9.5"]
    assert len(selected.files) == 4
    assert set(refused(selected).values()) == {"newest"}


def test_the_highest_stable_release_stays() -> None:
    files = [wheel("1.0"), wheel("0.9"), wheel("2.0a1"), wheel("2.0a2")]

    assert versions(select(*files, newest=1)) == ["1.0", "2.0a2"]


def test_pinned_releases_stay() -> None:
    files = [wheel("1.0"), wheel("2.0", yanked="x"), wheel("3.0"), wheel("4.0")]

    selected = select(*files, newest=1, projects=("fx", "fx==1.0", "fx==2.0", "fx==3.*"))

    assert versions(selected) == ["1.0", "2.0", "4.0"]


def test_the_newest_by_upload_keep_a_late_one() -> None:
    files = [
        wheel("2.0", upload_time="2024-01-01T00:00:00Z"),
        wheel("2.1", upload_time="2024-02-01T00:00:00Z"),
        wheel("1.3.4", upload_time="2024-03-01T00:00:00Z"),
        # A file that came later to an old release makes no new one.
        wheel("1.0", upload_time="2020-01-01T00:00:00Z"),
        entry("fx-1.0.zip", upload_time="2024-04-01T00:00:00Z"),
        wheel("0.1", upload_time=None),
    ]

    assert versions(select(*files, newest=1, newest_by="upload")) == ["2.1", "1.3.4"]
    assert versions(select(*files, newest=2, newest_by="upload")) == ["2.1", "1.3.4"]
    assert versions(select(*files, newest=2)) == ["2.0", "2.1"]


def test_releases_that_other_rules_empty_do_not_count_as_newest() -> None:
    files = [wheel("2.0", "cp38-cp38-win32"), wheel("1.0"), wheel("0.9")]

    assert versions(select(*files, newest=1, pythons=("3.11",))) == ["1.0"]


def test_yanked_files_are_left_out_if_that_is_said_and_none_is_pinned() -> None:
    files = [wheel("1.0"), wheel("2.0", yanked=""), wheel("3.0", yanked="bad")]

    assert len(select(*files).files) == 3
    selected = select(*files, yanked="refuse", projects=("fx", "fx==3.0"))
    assert versions(selected) == ["1.0", "3.0"]
    assert refused(selected) == {"fx-2.0-py3-none-any.whl": "yanked"}


# --- sizes, ages, hosts -----------------------------------------------------------------------


def test_files_and_projects_that_are_too_large() -> None:
    files = [wheel("1.0", size=100), wheel("2.0", size=5000), wheel("3.0", size=None)]

    selected = select(*files, max_file_size="1kB")
    assert versions(selected) == ["1.0", "3.0"]
    assert set(refused(selected).values()) == {"max_file_size"}
    assert len(select(*files, max_project_size=5100).files) == 3
    selected = select(*files, max_project_size=5099)
    assert set(refused(selected).values()) == {"max_project_size"}
    assert selected.files == ()
    assert len(select(*files, max_project_size=5099, max_file_size="1kB").files) == 2


def test_files_that_are_too_young_are_held_back_until_they_are_not() -> None:
    young = NOW - timedelta(days=6)
    files = [
        wheel("1.0"),
        wheel("2.0", upload_time=young.isoformat()),
        wheel("3.0", upload_time=(NOW - timedelta(hours=1)).isoformat()),
        # What another rule leaves out is not waited for.
        entry("fx-3.0-py2.7.egg", upload_time=(NOW - timedelta(days=6, hours=23)).isoformat()),
    ]

    selected = select(*files, min_age="7d")

    assert versions(selected) == ["1.0"]
    assert selected.due == NOW + timedelta(days=1)
    assert selected.refusal_of("fx-2.0-py3-none-any.whl").in_words() == (  # type: ignore[union-attr]
        "left out by `min_age` until 2026-12-02 10:00 UTC"
    )
    given = PypiOptions(projects=("*",), min_age="7d")
    later = Selection(given, read_wanted(given), NOW + timedelta(days=1))
    assert versions(later.select(page_of(*files), "fx")) == ["1.0", "2.0"]
    assert len(select(*files, min_age="7d", min_age_exempt=("F*",)).files) == 3


def test_a_release_that_is_too_young_does_not_count_as_newest() -> None:
    files = [wheel("1.0"), wheel("2.0", upload_time=NOW.isoformat())]

    assert versions(select(*files, min_age="7d", newest=1)) == ["1.0"]


def test_files_without_a_time_are_refused_where_ages_count() -> None:
    files = [wheel("1.0", upload_time=None), wheel("2.0", upload_time="soon")]

    assert set(refused(select(*files, min_age="7d")).values()) == {"no_time"}
    assert select(*files, min_age="7d").due is None
    assert len(select(*files, min_age="7d", no_time="allow").files) == 2
    assert len(select(*files).files) == 2


def test_files_without_a_good_digest_are_left_out() -> None:
    files = [wheel("1.0", hashes={}), wheel("2.0", hashes={"md5": "0" * 32}), wheel("3.0")]

    assert set(refused(select(*files)).values()) == {"unverified"}
    assert versions(select(*files)) == ["3.0"]
    assert len(select(*files, unverified=True).files) == 3


def hosted(*hosts: str) -> list[dict[str, Any]]:
    return [wheel(str(n), url=f"https://{host}/x.whl") for n, host in enumerate(hosts)]


def test_files_come_from_any_host_but_internal_ones() -> None:
    files = hosted("index.example.org:9", "files.example.org", "127.0.0.1", "localhost", "[::1]")

    assert versions(select(*files)) == ["0", "1"]
    assert set(refused(select(*files)).values()) == {"file_hosts"}


def test_files_come_from_the_index_and_named_hosts_alone() -> None:
    files = hosted("index.example.org", "a.files.example.org", "evil.example.org", "10.0.0.1")

    assert versions(select(*files, file_hosts=("*.Files.example.org",))) == ["0", "1"]
    assert versions(select(*files, file_hosts=("10.0.0.1",))) == ["0", "3"]


def test_an_internal_index_may_have_its_own_files() -> None:
    page = read_page(
        json_page(wheel("1.0"), *hosted("127.0.0.1:9", "127.0.0.2")),
        JSON,
        "http://127.0.0.1:8080/simple/fx/",
        "fx",
    )

    assert versions(rules().select(page, "fx")) == ["1.0", "0"]


def test_provenance_comes_from_the_same_hosts() -> None:
    files = [
        wheel("1.0", provenance="https://10.0.0.1/p"),
        wheel("2.0", provenance="https://index.example.org/p"),
    ]

    selected = select(*files, provenance="keep")

    assert [file.provenance for file in selected.files] == [None, "https://index.example.org/p"]


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST.", "a.localhost", "127.0.0.1", "10.1", "2130706433", "0x7f000001",
     "0x7f.1", "1.2.3.4.", "::1", "fe80::1%eth0", "", "localhost.localdomain"],
)  # fmt: skip
def test_hosts_that_are_internal(host: str) -> None:
    assert is_internal(host)


@pytest.mark.parametrize("host", ["files.example.org", "1.example.org", "0xa.example", "local"])
def test_hosts_that_are_not(host: str) -> None:
    assert not is_internal(host)


# --- why --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "rule"),
    [
        ("files/fx/fx-2.0-py3-none-any.whl", None),
        ("files/fx/fx-2.0-py3-none-any.whl.metadata", None),
        ("simple/fx/", None),
        ("fx", None),
        ("", None),
        ("../x", None),
        ("files/other/other-1.0.zip", "projects"),
        ("simple/Other/", "projects"),
        ("files/acme/acme-1.0.zip", "private"),
        ("files/fx/fx-1.0.zip", "projects"),
        ("files/fx/fx-2.1.zip", "exclude"),
        ("files/fx/fx-2.0.egg", "formats"),
        ("files/fx/fx-2.0-py3-none-win32.whl.provenance", "platforms"),
        ("files/fx/fx-2.0-cp38-cp38-linux_x86_64.whl", "pythons"),
        ("files/fx/fx-2.0rc1.zip", "prereleases"),
        ("files/fx/gx-2.0.zip", "project"),
        ("files/fx/fx-2.0.txt", "filename"),
    ],
)
def test_names_tell_why_nothing_is_at_a_path(path: str, rule: str | None) -> None:
    selection = rules(
        projects=("fx>=2.0rc1", "fx>=1.5", "acme"),
        exclude=("fx==2.1",),
        private=("acme",),
        platforms=("linux",),
        pythons=("3.11",),
    )
    if rule == "prereleases":
        selection = rules(projects=("fx",), prereleases=False)

    refusal = selection.refusal_of_path(path)

    assert (refusal and refusal.rule) == rule
    if refusal is not None:
        assert refusal.in_words().startswith(f"left out by `{rule}`")
