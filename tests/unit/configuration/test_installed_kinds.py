from collections.abc import Callable
from pathlib import Path

import pytest

from flowsync import SettingsError
from flowsync.configuration import installed_kinds, kind_names, load_kind
from flowsync.runtime.stopped import StoppedError

Install = Callable[[str, str], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put a package beside the installed ones whose module is `program`, and which brings the kind
    of that name.
    """
    monkeypatch.syspath_prepend(tmp_path)

    def put(kind: str, program: str) -> None:
        information = tmp_path / f"{kind}_of_a_test-1.0.dist-info"
        information.mkdir()
        (tmp_path / f"{kind}_of_a_test.py").write_text(program)
        (information / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {kind}-of-a-test\nVersion: 1.0\n"
        )
        (information / "entry_points.txt").write_text(
            f"[flowsync.sources]\n{kind} = {kind}_of_a_test:SOURCE\n"
        )

    return put


def test_kinds_are_loaded_in_order_and_a_broken_one_stands_apart_with_its_reason(
    install: Install,
) -> None:
    install("zeta", "import sys\nsys.exit('please configure me')\n")
    install("alpha", "SOURCE = 1\n")

    kinds = installed_kinds()

    assert kind_names() == ["alpha", "file", "zeta"]
    assert [*kinds.usable] == ["file"]
    assert kinds.unusable == {
        "alpha": "source 'alpha': its entry point alpha_of_a_test:SOURCE is no SourceKind",
        "zeta": "source 'zeta' cannot be loaded: SystemExit: please configure me "
        "(zeta_of_a_test:SOURCE)",
    }
    assert [file.path for file in kinds.metadata] == ["PULP_MANIFEST"]


def test_a_kind_that_is_not_installed_is_an_error_that_lists_the_others() -> None:
    with pytest.raises(SettingsError, match="no source 'tape'; installed are: file"):
        load_kind("tape")


@pytest.mark.parametrize(
    ("error", "program"),
    [
        (StoppedError, "from flowsync.runtime.stopped import StoppedError\nraise StoppedError(15)"),
        (KeyboardInterrupt, "raise KeyboardInterrupt"),
    ],
)
def test_a_program_that_is_stopped_while_it_loads_a_kind_stops(
    install: Install, error: type[BaseException], program: str
) -> None:
    install("slow", program)

    with pytest.raises(error):
        load_kind("slow")
