from tests.arch.tree import modules

SAY_NOTHING = {"base", "common", "core", "helpers", "manager", "utils"}


def test_no_module_has_a_name_that_says_nothing() -> None:
    paths = [path for path, _ in modules("flowsync", "bench", "scripts", "tests")]

    offenders = [
        str(path) for path in paths if not SAY_NOTHING.isdisjoint(path.with_suffix("").parts)
    ]

    assert offenders == []
