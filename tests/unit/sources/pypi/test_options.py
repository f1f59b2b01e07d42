import subprocess
import sys
from typing import Any

import pytest

from flowsync import SourceKind, Stage
from flowsync.configuration import options_of
from flowsync.configuration.kind_options import options_of_texts, read_options
from flowsync.errors import SettingsError
from flowsync.sources.pypi.options import PypiOptions
from tests.arch.tree import ROOT

KIND = SourceKind(
    name="pypi", summary="", first_stage=lambda remote, options: Stage(), options=PypiOptions
)


def read(**given: Any) -> PypiOptions:
    found = read_options(KIND, {"projects": ["six"], **given})
    assert isinstance(found, PypiOptions)
    return found


def test_every_option_is_described() -> None:
    options = options_of(KIND)

    assert [each.name for each in options if not each.help.endswith(".")] == []
    assert [each.name for each in options if each.type == "any value"] == []
    assert {each.name: each.default for each in options if each.default} == {
        "formats": ("wheel", "sdist"),
        "prereleases": True,
        "newest_by": "version",
        "no_time": "refuse",
        "yanked": "keep",
        "core_metadata": True,
        "provenance": "off",
    }


def test_something_must_be_wanted() -> None:
    with pytest.raises(SettingsError, match="neither 'projects' nor 'requirements' is set"):
        read_options(KIND, {})
    assert read_options(KIND, {"requirements": ["req.txt"]}) is not None
    assert read(projects=["*"]).everything
    assert not read(projects=["six", "fx>=2,<3"]).everything


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("projects", ["x y"]),
        ("projects", ["six >> 2"]),
        ("projects", ["six @ https://files.example.org/six.whl"]),
        ("projects", ["../x"]),
        ("projects", ["a" * 129]),
        ("projects", ["fx-*"]),
        ("projects", [""]),
        ("exclude", ["fx-*<2"]),
        ("exclude", ["x y"]),
        ("exclude_regex", ["("]),
        ("private", ["acme/*"]),
        ("private", [""]),
        ("min_age_exempt", ["a b"]),
        ("formats", []),
        ("formats", ["deb"]),
        ("platforms", ["a/b"]),
        ("pythons", ["3"]),
        ("pythons", ["cp38"]),
        ("newest", 0),
        ("newest_by", "name"),
        ("max_file_size", "big"),
        ("max_file_size", 0),
        ("max_file_size", -1),
        ("max_project_size", "1 parsec"),
        ("min_age", "soon"),
        ("min_age", -1),
        ("no_time", "maybe"),
        ("yanked", "drop"),
        ("provenance", "on"),
        ("file_hosts", ["https://files.example.org/"]),
        ("nothing", 1),
    ],
)
def test_values_that_cannot_be_used_are_usage_errors(name: str, value: object) -> None:
    with pytest.raises(SettingsError, match=name):
        read(**{name: value})


def test_amounts_are_read() -> None:
    options = read(min_age="7d", max_file_size="200MB", max_project_size=5)

    assert options.min_age_seconds == 7 * 86400
    assert options.max_file_bytes == 200_000_000
    assert options.max_project_bytes == 5
    assert read().min_age_seconds == read(min_age="0").min_age_seconds == 0
    assert read().max_file_bytes is None


def test_options_of_a_command_line() -> None:
    given = options_of_texts(
        KIND, {"projects": ["six>=1,<2", "fx"], "newest": ["3"], "pythons": ["3.11"]}
    )

    assert read(**given) == PypiOptions(projects=("six>=1,<2", "fx"), newest=3, pythons=("3.11",))


def test_describing_options_and_reading_pages_loads_no_packaging() -> None:
    """Help and servers load all kinds."""
    program = (
        "import sys, flowsync.sources.pypi.options, flowsync.sources.pypi.pages.simple_pages; "
        "from flowsync.sources.pypi.options import PypiOptions; import flowsync; "
        "from flowsync.configuration import options_of; "
        "options_of(flowsync.SourceKind(name='x', summary='', first_stage=print, "
        "options=PypiOptions)); print('packaging' in sys.modules)"
    )

    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )

    assert run.stdout == "False\n"
