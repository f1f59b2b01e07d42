import ast

from tests.arch.tree import ROOT, modules

CODE = ("flowsync", "bench", "scripts")
LONGEST_MODULE = 650
LONGEST_FUNCTION = 70


def test_no_module_has_more_than_650_lines() -> None:
    lengths = {str(path): (ROOT / path).read_bytes().count(b"\n") for path, _ in modules(*CODE)}

    too_long = {path: length for path, length in lengths.items() if length > LONGEST_MODULE}

    assert too_long == {}


def test_no_function_has_more_than_70_lines() -> None:
    lengths = {
        f"{path}:{node.lineno} {node.name}": (node.end_lineno or 0) - node.lineno + 1
        for path, tree in modules(*CODE)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }

    too_long = {place: length for place, length in lengths.items() if length > LONGEST_FUNCTION}

    assert too_long == {}
