"""What is public is what the stubs list: it is loaded when it is asked for, it is documented, and
what its documentation names can be imported.
"""

import ast
import builtins
import importlib
import inspect
import itertools
import pkgutil
import re
import subprocess
import sys
from typing import Any

import pytest

import flowsync
from flowsync import errors
from flowsync.errors import error_tree
from tests.arch.tree import ROOT

LAZY = ("flowsync", "flowsync.configuration", "flowsync.library", "flowsync.stages")
PUBLIC = (*LAZY, "flowsync.errors")
DOCUMENT = """
    ACSArtifactHandler ArtifactDownloader ArtifactSaver ContentAssociation ContentSaver
    ContentUnassociation DeclarativeArtifact DeclarativeContent DeclarativeVersion EndStage
    GenericDownloader QueryExistingArtifacts QueryExistingContents RemoteArtifactSaver
    ResolveContentFutures Stage create_pipeline
"""
"""The names of the Stages API."""

SNAPSHOT = """
    Artifact Backoff Content ContentServer DeclarationError DigestPolicy Document Downloader
    Engine EngineClosedError ErrorPolicy Event Executor ExportedFile FetchRequest Fetched
    FlowsyncError FuturesExecutor GeneratedFiles
    GeneratedPage Layout MetadataError Mount MountRequest Moved NewFile NewFiles NewVersion
    Observer PageRequest Place Policy Remote Repository RepositoryVersion ServerLimits
    SourceKind StagedArtifact StoredArtifact StoredFile SyncEnded SyncPlan SyncProgressed
    SyncResult SyncStarted SyncTimeoutError UnitFile UpstreamUnchanged Validators VersionEntry
    VersionFile VersionReader VersionUnit WHOLE_CONTENT collect_rarely configuration errors
    export_version library problem_with_path prune reclaim redact stages task_group verify
"""
"""The other names of the top package. A change here changes what users may import."""


def stub_of(package: str) -> ast.Module:
    return ast.parse((ROOT / package.replace(".", "/") / "__init__.pyi").read_text())


def homes_for_the_type_checker(package: str) -> dict[str, str]:
    """Return the module of each name that the stub imports."""
    return {
        alias.name: statement.module or ""
        for statement in stub_of(package).body
        if isinstance(statement, ast.ImportFrom)
        for alias in statement.names
    }


def exported(package: str) -> dict[str, Any]:
    """Return the public values of a package by name."""
    module = importlib.import_module(package)
    listed = getattr(module, "__all__", None) or [
        name for name, value in vars(module).items() if inspect.isclass(value)
    ]
    return {name: getattr(module, name) for name in listed}


def documented_functions() -> dict[str, Any]:
    """Return the functions, classes and methods that are public, by where they stand."""
    found = {}
    for package in PUBLIC:
        for name, value in exported(package).items():
            if inspect.ismodule(value):
                continue
            members = dict(vars(value)) if inspect.isclass(value) else {}
            for member, function in {name: value, **members}.items():
                if not member.startswith("_"):
                    found[f"{package}.{name}:{member}"] = function
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


@pytest.mark.parametrize("package", PUBLIC)
def test_import_loads_neither_http_nor_database_nor_console(package: str) -> None:
    loaded = loaded_by(package)

    assert "flowsync" in loaded
    assert loaded & {"aiohttp", "click", "psycopg", "psycopg_pool", "rich"} == set()


def test_the_engine_leaves_the_http_client_to_the_first_request_that_needs_it() -> None:
    loaded = loaded_by("flowsync.engine.engine")

    assert "psycopg" in loaded
    assert "aiohttp" not in loaded


def test_the_top_has_the_stages_api_and_little_else() -> None:
    assert sorted(vars(flowsync)["__all__"]) == sorted([*DOCUMENT.split(), *SNAPSHOT.split()])


@pytest.mark.parametrize("package", LAZY)
def test_every_public_name_is_what_the_type_checker_sees(package: str) -> None:
    homes = homes_for_the_type_checker(package)

    found = exported(package)

    assert sorted(found) == sorted(homes)
    for name, value in found.items():
        home = importlib.import_module(homes[name])
        assert getattr(home, name) is value


@pytest.mark.parametrize("package", LAZY)
def test_no_public_name_is_that_of_a_module_beside_it(package: str) -> None:
    """The module, once it is imported, would stand in place of the function."""
    modules = {
        found.name for found in pkgutil.iter_modules(importlib.import_module(package).__path__)
    }
    homes = homes_for_the_type_checker(package)

    assert {name for name in modules & set(homes) if homes[name] != package} == set()


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'flowsync' has no attribute 'Nothing'"):
        flowsync.Nothing  # type: ignore[attr-defined]  # noqa: B018 - the access is the test
    with pytest.raises(ImportError):
        importlib.import_module("flowsync.nothing")


def test_every_error_of_the_tree_is_exported() -> None:
    tree = {
        name
        for name, value in vars(error_tree).items()
        if isinstance(value, type) and issubclass(value, Exception)
    }

    assert sorted(tree - set(exported("flowsync.errors"))) == []


def test_every_error_that_a_public_docstring_names_is_exported() -> None:
    named = {
        error: where
        for where, function in documented_functions().items()
        for sentence in re.findall(r"\bRais(?:es?|ing) [^.]*", inspect.getdoc(function) or "")
        for error in re.findall(r"`(\w+)`", sentence)
        if error.endswith("Error")
    }

    assert named.keys() >= {"StoreUnwritableError", "SchemaTooNewError", "RunNotFoundError"}
    assert {
        error: where
        for error, where in named.items()
        if not hasattr(errors, error) and not hasattr(builtins, error)
    } == {}


def has_docstring(package: str, name: str, value: Any) -> bool:
    if inspect.isclass(value):
        return bool(value.__doc__) and value.__doc__ != getattr(value.__base__, "__doc__", None)
    if inspect.ismodule(value) or inspect.isfunction(value):
        return bool(value.__doc__)
    # A constant or an alias: its text stands below it.
    home = importlib.import_module(homes_for_the_type_checker(package)[name])
    body = ast.parse(inspect.getsource(home)).body
    return any(
        isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
        for statement, below in itertools.pairwise(body)
        if isinstance(statement, ast.Assign | ast.AnnAssign)
        and name in {node.id for node in ast.walk(statement) if isinstance(node, ast.Name)}
    )


@pytest.mark.parametrize("package", PUBLIC)
def test_every_public_name_has_a_docstring(package: str) -> None:
    without = [
        name for name, value in exported(package).items() if not has_docstring(package, name, value)
    ]

    assert without == []


def test_every_public_method_has_a_docstring() -> None:
    """Of its own, or of the class that declares it."""
    without = [
        where
        for where, function in documented_functions().items()
        if inspect.isfunction(function) and not inspect.getdoc(function)
    ]

    assert without == []


def test_what_a_plugin_asks_a_fetcher_for_is_public() -> None:
    assert flowsync.FetchRequest.__module__ == "flowsync.model.remote"


def test_a_name_that_has_left_the_top_is_still_found_there() -> None:
    """Programs that were written before `flowsync.errors` and `flowsync.library` go on."""
    moved = ["StatusError", "IntegrityError", "RunContext", "VerifyReport", "remove_repository"]

    assert [name for name in moved if not hasattr(flowsync, name)] == []
    assert not set(moved) & set(dir(flowsync))


def test_the_store_for_tests_needs_no_pytest() -> None:
    loaded = loaded_by("flowsync.testing.memory_store")

    assert "blake3" in loaded
    assert "pytest" not in loaded
