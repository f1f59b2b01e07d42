import ast
from pathlib import Path

from tests.arch.tree import modules

# The top package also loads its names lazily; `test_public_names.py` says that it does nothing
# else.
PACKAGES = [
    (path, tree)
    for path, tree in modules("flowsync")
    if path.name == "__init__.py" and path != Path("flowsync/__init__.py")
]


def re_exports(statement: ast.stmt) -> bool:
    match statement:
        case ast.Expr(value=ast.Constant(value=str())) | ast.Import() | ast.ImportFrom():
            return True
        case ast.Assign(targets=[ast.Name(id="__all__")]):
            return True
    return False


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

    assert without == ["flowsync"]
