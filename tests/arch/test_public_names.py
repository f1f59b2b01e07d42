import ast
import builtins
import inspect
import re
import subprocess
import sys

import flowsync
from flowsync import errors
from tests.arch.tree import ROOT

TOP = ast.parse((ROOT / "flowsync/__init__.py").read_text())
STUB = ast.parse((ROOT / "flowsync/__init__.pyi").read_text())
PUBLIC: list[str] = vars(flowsync)["__all__"]
ERRORS = {
    name
    for module in (errors, transfer_errors)
    for name, value in vars(module).items()
    if isinstance(value, type) and issubclass(value, Exception)
}


def homes_for_the_type_checker() -> dict[str, str]:
    """Return the module of each name that the stub imports."""
    return {
        alias.name: statement.module or ""
        for statement in STUB.body
        if isinstance(statement, ast.ImportFrom)
        for alias in statement.names
    }


def errors_that_docstrings_name() -> dict[str, str]:
    """Return the errors that the docstrings of public functions and methods tell their callers of,
    with the function.
    """
    found = {}
    for name in PUBLIC:
        value = getattr(flowsync, name)
        members = dict(vars(value)) if inspect.isclass(value) else {}
        for member, function in {name: value, **members}.items():
            text = inspect.getdoc(function) if not member.startswith("_") else None
            for sentence in re.findall(r"\bRaises? [^.]*", text or ""):
                for error in re.findall(r"`(\w+Error)`", sentence):
                    found[error] = f"{name}.{member}"
    return found


def loaded_by(module: str) -> set[str]:
    """Return the top-level packages that a fresh interpreter has loaded after it imported
    `module`.
    """
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
    loaded = loaded_by("flowsync.engine.engine")

    assert "psycopg" in loaded
    assert "aiohttp" not in loaded


def test_every_public_name_is_what_the_type_checker_sees() -> None:
    homes = homes_for_the_type_checker()

    found = {
        name: getattr(sys.modules[home], name)
        for name, home in homes.items()
        if getattr(flowsync, name)
    }

    assert sorted(PUBLIC) == sorted(homes)
    assert all(getattr(flowsync, name) is value for name, value in found.items())


def test_the_top_package_defines_nothing_but_its_lazy_names() -> None:
    defined = [
        statement.name
        for statement in TOP.body
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    ]

    assert defined == ["__getattr__", "__dir__"]


def test_every_error_of_the_tree_is_exported() -> None:
    assert sorted(ERRORS - set(PUBLIC)) == []


def test_every_error_that_a_public_docstring_names_is_exported() -> None:
    named = errors_that_docstrings_name()

    assert named.keys() >= {"StoreUnwritableError", "SchemaTooNewError"}
    assert {
        error: where
        for error, where in named.items()
        if error not in PUBLIC and not hasattr(builtins, error)
    } == {}


def test_what_a_plugin_asks_a_fetcher_for_is_public() -> None:
    assert flowsync.FetchRequest.__module__ == "flowsync.model.fetch"


def test_the_store_for_tests_needs_no_pytest() -> None:
    loaded = loaded_by("flowsync.testing.memory_store")

    assert "blake3" in loaded
    assert "pytest" not in loaded
