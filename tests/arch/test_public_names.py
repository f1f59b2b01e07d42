import ast
import subprocess
import sys
from pathlib import Path

import flowsync
from tests.arch.tree import ROOT, modules

TOP = next(tree for path, tree in modules("flowsync") if path == Path("flowsync/__init__.py"))


def homes_for_the_type_checker() -> dict[str, str]:
    """Return the module of each name that is imported under TYPE_CHECKING."""
    block = next(statement for statement in TOP.body if isinstance(statement, ast.If))
    return {
        alias.asname or alias.name: statement.module or ""
        for statement in block.body
        if isinstance(statement, ast.ImportFrom)
        for alias in statement.names
    }


def loaded_by(module: str) -> set[str]:
    """Return the top-level packages that a fresh interpreter has loaded after it imported `module`."""
    program = f"import sys, {module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return set(run.stdout.split())


def test_import_loads_neither_http_nor_database_nor_console() -> None:
    loaded = loaded_by("flowsync")

    assert "flowsync" in loaded
    assert loaded & {"aiohttp", "click", "psycopg", "psycopg_pool", "rich"} == set()


def test_the_engine_leaves_the_http_client_to_the_first_request_that_needs_it() -> None:
    loaded = loaded_by("flowsync.sync.engine")

    assert "psycopg" in loaded
    assert "aiohttp" not in loaded


def test_every_public_name_is_what_the_type_checker_sees() -> None:
    homes = homes_for_the_type_checker()

    found = {
        name: getattr(sys.modules[home], name)
        for name, home in homes.items()
        if getattr(flowsync, name)
    }

    assert sorted(flowsync.__all__) == sorted(homes)
    assert all(getattr(flowsync, name) is value for name, value in found.items())


def test_the_top_package_defines_nothing_but_its_lazy_names() -> None:
    defined = [
        statement.name
        for statement in TOP.body
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    ]

    assert defined == ["__getattr__", "__dir__"]
