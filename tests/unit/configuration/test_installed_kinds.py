from pathlib import Path

import pytest

from flowsync.configuration import InstalledKinds
from flowsync.errors import SettingsError
from flowsync.runtime.signal_received import SignalReceivedError
from tests.unit.configuration.conftest import Install

HOME = SignalReceivedError.__module__

OWN = ["deb", "file"]


def test_kinds_are_loaded_in_order_and_a_broken_one_stands_apart_with_its_reason(
    install: Install,
) -> None:
    install("zeta", "import sys\nsys.exit('please configure me')\n")
    install("alpha", "SOURCE = 1\n")

    kinds = InstalledKinds()

    assert kinds.names == ["alpha", *OWN, "zeta"]
    assert [*kinds.usable] == OWN
    assert kinds.unusable == {
        "alpha": "source 'alpha': its entry point alpha_of_a_test:SOURCE is no SourceKind",
        "zeta": "source 'zeta' cannot be loaded: SystemExit: please configure me "
        "(zeta_of_a_test:SOURCE)",
    }


def test_a_kind_is_loaded_once_also_when_that_fails(install: Install, tmp_path: Path) -> None:
    loads = tmp_path / "loads"
    install(
        "broken",
        f"with open({str(loads)!r}, 'a') as file:\n    file.write('x')\nraise ValueError('no')\n",
    )
    kinds = InstalledKinds()

    errors = [error_of(kinds, "broken") for _ in range(3)]

    assert all(isinstance(error.__cause__, ValueError) for error in errors)
    assert loads.read_text() == "x"
    assert kinds.load("file") is kinds.load("file")


def error_of(kinds: InstalledKinds, name: str) -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        kinds.load(name)
    return caught.value


def test_a_kind_that_is_not_installed_is_an_error_that_lists_the_others() -> None:
    with pytest.raises(SettingsError, match=f"no source 'tape'; installed are: {', '.join(OWN)}"):
        InstalledKinds().load("tape")


@pytest.mark.parametrize(
    ("error", "program"),
    [
        (
            SignalReceivedError,
            f"from {HOME} import SignalReceivedError\nraise SignalReceivedError(15)",
        ),
        (KeyboardInterrupt, "raise KeyboardInterrupt"),
    ],
)
def test_a_program_that_is_stopped_while_it_loads_a_kind_stops(
    install: Install, error: type[BaseException], program: str
) -> None:
    install("slow", program)

    with pytest.raises(error):
        InstalledKinds().load("slow")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("dict", "its options are no struct of msgspec"),
        (
            "msgspec.defstruct('O', [('depth', int, object())])",
            "its options are no struct of msgspec that can be described",
        ),
    ],
)
def test_a_kind_whose_options_cannot_stand_in_settings_is_unusable(
    install: Install, options: str, said: str
) -> None:
    install(
        "odd",
        "import msgspec\nfrom flowsync import SourceKind\n"
        f"SOURCE = SourceKind(name='odd', summary='', first_stage=print, options={options})\n",
    )

    with pytest.raises(SettingsError, match=f"source 'odd': {said}"):
        InstalledKinds().load("odd")
