import ast

from tests.arch.tree import modules

INSIDE = {"catalog", "embedded", "fetcher", "hasher"}
"""What an engine has for the floors below the public ones. It has `store` too, which is also the
name of a folder.
"""


def test_the_command_line_takes_nothing_out_of_an_engine() -> None:
    """What a command does, a daemon and a web page can do with the same functions."""
    attributes = [
        (path, node)
        for path, tree in modules("flowsync/cli")
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
    ]

    taken = [
        f"{path}:{node.lineno} {ast.unparse(node)}"
        for path, node in attributes
        if node.attr in INSIDE or ast.unparse(node) == "engine.store"
    ]

    assert taken == []
