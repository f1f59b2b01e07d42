import ast

from tests.arch.tree import modules

PACKAGES = [(path, tree) for path, tree in modules("flowsync") if path.name == "__init__.py"]
LAZILY = (
    "__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)",
    (
        "__getattr__, __dir__, __all__ = lazy_names("
        '__name__, __file__, moved=("flowsync.errors", "flowsync.stages", "flowsync.library"))'
    ),
)
"""How the public packages say that their stub lists their names, and the top which have left it."""


def re_exports(statement: ast.stmt) -> bool:
    match statement:
        case ast.Expr(value=ast.Constant(value=str())) | ast.Import() | ast.ImportFrom():
            return True
        case ast.Assign(targets=[ast.Name(id="__all__")]):
            return True
    return ast.dump(statement) in {ast.dump(ast.parse(line).body[0]) for line in LAZILY}


def test_packages_hold_only_docstring_and_re_exports() -> None:
    code = [
        f"{path}:{statement.lineno}"
        for path, tree in PACKAGES
        for statement in tree.body
        if not re_exports(statement)
    ]

    assert code == []


def test_every_folder_of_modules_is_a_package() -> None:
    folders = {path.parent for path, _ in modules("flowsync")}

    without = [str(folder) for folder in folders - {path.parent for path, _ in PACKAGES}]

    assert without == []
