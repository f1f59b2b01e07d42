import ast
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from tests.arch.tree import modules

SAY_NOTHING = {"base", "common", "core", "helpers", "manager", "utils"}

# Files of these rooms are named by what a user types, or by the parts that each kind of upstream
# has; they may be called like a file of another room. So may classes of kinds of source, which
# know nothing of each other and speak the words of their formats.
NAMED_FROM_OUTSIDE = ("flowsync/cli/commands", "flowsync/sources")

# The path that a name should leave, with the reason why it is there today.
TWICE = {
    "alternates.py": "what the settings say of them, and the records of the catalog",
    "export.py": "the store's export and that of a version",
    "failures.py": "errors of workers and errors of file systems",
    "UnreadableFileError": "public for upstream's files; private for blobs in serve",
}


def by_name(named: Iterable[tuple[str, Path]]) -> dict[str, list[str]]:
    """Return the names that several paths have."""
    found = defaultdict(list)
    for name, path in named:
        found[name].append(str(path))
    return {name: paths for name, paths in found.items() if len(paths) > 1}


def test_no_module_has_a_name_that_says_nothing() -> None:
    paths = [path for path, _ in modules("flowsync", "bench", "scripts", "tests")]

    offenders = [
        str(path) for path in paths if not SAY_NOTHING.isdisjoint(path.with_suffix("").parts)
    ]

    assert offenders == []


def test_no_file_name_stands_twice() -> None:
    named = [
        (path.name, path)
        for path, _ in modules("flowsync")
        if not path.name.startswith("__") and not str(path).startswith(NAMED_FROM_OUTSIDE)
    ]

    twice = by_name(named)

    assert {name: paths for name, paths in twice.items() if name not in TWICE} == {}


def test_no_class_name_stands_twice() -> None:
    named = [
        (node.name, path)
        for path, tree in modules("flowsync")
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        and not node.name.startswith("_")
        and not str(path).startswith("flowsync/sources")
    ]

    twice = by_name(named)

    assert {name: paths for name, paths in twice.items() if name not in TWICE} == {}
