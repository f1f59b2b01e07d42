from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest

from flowsync import Remote, SourceKind, Stage
from flowsync.configuration import (
    Configuration,
    KindOption,
    UnusableSync,
    WantedSync,
    alternate_first_stage,
    options_of,
    read_configuration,
)
from flowsync.configuration.kind_options import options_of_texts, read_options, with_paths
from flowsync.errors import SettingsError
from tests.unit.configuration.conftest import Install

PLUGIN = """
from typing import Annotated

import msgspec
from flowsync import SourceKind, Stage


class Options(msgspec.Struct, frozen=True):
    depth: Annotated[int, msgspec.Meta(ge=1)]
    suites: list[str] = []
    token: str = ""


class First(Stage):
    def __init__(self, remote, options):
        self.remote, self.options = remote, options


SOURCE = SourceKind(name="deep", summary="Deep.", first_stage=First, options=Options)
"""


class Options(msgspec.Struct, frozen=True, rename={"kind": "type"}):
    depth: Annotated[int, msgspec.Meta(ge=1, description="Levels of folders.")]
    suites: frozenset[str] = frozenset({"b", "a"})
    kind: Literal["full", "part"] | None = None
    strict: bool = False

    def __post_init__(self) -> None:
        if self.kind == "part" and not self.suites:
            raise LookupError("part needs suites")


KIND = SourceKind(name="deep", summary="", first_stage=Stage, options=Options)
PLAIN = SourceKind(name="plain", summary="", first_stage=Stage)


class Ratio(msgspec.Struct, frozen=True):
    ratio: float = 1.0
    ratios: tuple[float, ...] = ()


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "+nan"])
@pytest.mark.parametrize("name", ["ratio", "ratios"])
def test_a_number_that_is_none_is_no_option(name: str, text: str) -> None:
    kind = SourceKind(name="ratios", summary="", first_stage=Stage, options=Ratio)
    number = float(text)

    with pytest.raises(SettingsError, match=f"option '{name}' of source 'ratios'"):
        options_of_texts(kind, {name: [text]})
    with pytest.raises(SettingsError, match=f"option '{name}' of source 'ratios' holds"):
        read_options(kind, {name: number if name == "ratio" else [number]})


def configured(folder: Path, fields: str, environ: dict[str, str] | None = None) -> Configuration:
    (folder / "flowsync.toml").write_text(
        f'[repositories.a]\nsource = "deep"\nurl = "http://h/"\n{fields}\n'
    )
    return read_configuration(
        config=folder / "flowsync.toml", environ={"XDG_DATA_HOME": "/data", **(environ or {})}
    )


def wanted(configuration: Configuration, **overrides: list[str]) -> Any:
    """Return the options of the one sync that is wanted."""
    (one,) = configuration.wanted_syncs(overrides=overrides)
    assert isinstance(one, WantedSync)
    assert one.options is not None
    return one.options


def test_options_are_described_with_type_default_and_help() -> None:
    assert options_of(PLAIN) == []
    assert options_of(KIND) == [
        KindOption(
            name="depth", type="integer, at least 1", required=True, help="Levels of folders."
        ),
        KindOption(name="suites", type="list of text", required=False, default=["a", "b"]),
        KindOption(name="type", type="'full' or 'part'", required=False),
        KindOption(name="strict", type="true or false", required=False, default=False),
    ]


def test_texts_become_what_their_options_ask_for() -> None:
    found = options_of_texts(
        KIND, {"depth": ["3"], "suites": ["x"], "type": ["full"], "strict": ["true"]}
    )

    assert found == {"depth": 3, "suites": ["x"], "type": "full", "strict": True}


@pytest.mark.parametrize(
    ("texts", "suites"),
    [
        (['["x", "y"]'], ["x", "y"]),
        (["x", "y"], ["x", "y"]),
        (['["x"]', "y"], ["x", "y"]),
        (["3.10", "latest"], ["3.10", "latest"]),
        (['"3"'], ["3"]),
        (["true"], ["true"]),
    ],
)
def test_texts_of_a_list_are_lists_or_items_of_it(texts: list[str], suites: list[str]) -> None:
    found = options_of_texts(KIND, {"suites": texts})

    assert sorted(found["suites"]) == suites


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        ({"depth": ["0"]}, r"option 'depth' of source 'deep' \(integer, at least 1\): Expected"),
        ({"depth": ["1", "2"]}, "option 'depth' of source 'deep' is given twice"),
        ({"mirror": ["true"]}, "has no option 'mirror'; it has depth, suites, type, strict"),
    ],
)
def test_a_text_that_does_not_fit_is_refused(texts: dict[str, list[str]], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        options_of_texts(KIND, texts)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, r"source 'deep' needs the option 'depth' \(integer, at least 1\)"),
        ({"depth": "3"}, r"option 'depth' .*: Expected `int`, got `str`"),
        ({"depth": 1, "colour": 1}, "source 'deep' has no option 'colour'; it has depth, suites"),
        ({"depth": 1, "type": "part", "suites": []}, "options of source 'deep': part needs suites"),
    ],
)
def test_options_that_cannot_be_are_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        read_options(KIND, given)


def test_a_kind_without_options_gets_none_and_takes_none() -> None:
    assert read_options(PLAIN, {}) is None
    with pytest.raises(SettingsError, match="source 'plain' has no option 'depth'; it has none"):
        read_options(PLAIN, {"depth": 1})


def test_options_of_the_kind_stand_in_a_table(install: Install, tmp_path: Path) -> None:
    install("deep", PLUGIN)

    options = wanted(configured(tmp_path, 'options = { depth = 2, suites = ["x"] }\nmirror = true'))

    assert (options.depth, options.suites) == (2, ["x"])


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (
            "colour = 1",
            (
                "repository 'a': Object contains unknown field `colour`; "
                "the fields are source, url, "
                r".*; what is an option of the kind stands in options = { colour = … }$"
            ),
        ),
        (
            "options = { colour = 1 }",
            "repository 'a': source 'deep' has no option 'colour'; it has depth, suites, token$",
        ),
        ("options = 1", "repository 'a': Expected `object`, got `int` - at `[$].options`"),
        (
            'options = { depth = "x" }',
            (
                r"repository 'a': option 'depth' of source 'deep' "
                r"\(integer, at least 1\): Expected `int`"
            ),
        ),
    ],
)
def test_a_wrong_option_is_named_when_the_file_is_read(
    install: Install, tmp_path: Path, fields: str, said: str
) -> None:
    install("deep", PLUGIN)

    with pytest.raises(SettingsError, match=f"^{tmp_path}/flowsync.toml: {said}"):
        configured(tmp_path, fields)


def test_an_option_that_is_missing_is_told_of_when_the_sync_is_wanted_and_may_be_given_then(
    install: Install, tmp_path: Path
) -> None:
    install("deep", PLUGIN)
    configuration = configured(tmp_path, "")

    options = wanted(configuration, depth=["4"], suites=["x", "y"])

    assert (options.depth, options.suites) == (4, ["x", "y"])
    with pytest.raises(SettingsError, match="repository 'a': source 'deep' needs the option"):
        configuration.wanted_syncs()


def test_an_option_may_come_from_the_environment_or_in_its_place(
    install: Install, tmp_path: Path
) -> None:
    install("deep", PLUGIN)
    fields = 'options = { depth = 1, token = "env:TOKEN" }'
    with_it = configured(tmp_path, fields, {"TOKEN": "x"})
    without = configured(tmp_path, fields)

    assert wanted(with_it).token == "x"
    assert wanted(without, token=["y"]).token == "y"
    with pytest.raises(SettingsError, match="the environment variable TOKEN is not set"):
        without.wanted_syncs()


def test_options_of_a_kind_that_cannot_be_loaded_harm_no_other_repository(
    tmp_path: Path,
) -> None:
    configuration = configured(
        tmp_path, 'options = { depth = "x" }\n[repositories.b]\nsource = "file"\nurl = "http://h/"'
    )

    apart, usable = configuration.wanted_syncs()

    assert isinstance(apart, UnusableSync)
    assert "there is no source 'deep'" in apart.reason
    assert isinstance(usable, WantedSync)


def test_an_alternate_source_has_options_in_a_table_of_its_own(
    install: Install, tmp_path: Path
) -> None:
    install("deep", PLUGIN)
    configuration = configured(
        tmp_path, "options = { depth = 1 }\n[alternate_sources.near]\noptions = { depth = 5 }"
    )
    (one,) = configuration.wanted_syncs()
    assert isinstance(one, WantedSync)

    stage = alternate_first_stage(configuration.file, "near", one.source)(one.remote)

    assert isinstance(one.remote, Remote)
    assert stage.kind_options.depth == 5
    with pytest.raises(SettingsError, match="alternate source 'far': source 'deep' needs"):
        alternate_first_stage(configuration.file, "far", one.source)


def test_paths_are_relative_to_the_settings_file() -> None:
    class Signed(msgspec.Struct):
        keyring: Annotated[
            str | None, msgspec.Meta(description="Keys.", extra_json_schema={"format": "path"})
        ] = None
        locks: tuple[
            Annotated[str, msgspec.Meta(title="path", extra_json_schema={"format": "path"})], ...
        ] = ()
        note: str = ""

    kind = SourceKind(name="signed", summary="", first_stage=Stage, options=Signed)
    home = Path("/srv/settings")

    def found(**given: Any) -> dict[str, Any]:
        return with_paths(kind, given, lambda path: home / path)

    assert found(keyring="keys/a.gpg") == {"keyring": "/srv/settings/keys/a.gpg"}
    assert found(keyring="/keys/a.gpg") == {"keyring": "/keys/a.gpg"}
    for text in ("env:KEYS", "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nabc\n"):
        assert found(keyring=text) == {"keyring": text}
    assert found(note="a.gpg", other="b") == {"note": "a.gpg", "other": "b"}
    assert found(locks=["uv.lock", "/a"]) == {"locks": ["/srv/settings/uv.lock", "/a"]}
    assert options_of(kind)[0].help == "Keys."
    assert options_of(kind)[1].type == "list of path"
