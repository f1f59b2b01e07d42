"""Public names of a package that are loaded when they are first used (PEP 562).

The stub of the package is the only list of them: `from HOME import NAME as NAME`, a line or a pair
of brackets each. Importing the package loads none of them.
"""

import re
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

_IMPORT = re.compile(r"^from (\S+) import (?:\(\s*)?(\w+) as \2\b", re.MULTILINE)


def lazy_names(
    package: str, file: str
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Return `__getattr__`, `__dir__` and `__all__` of the package whose `__init__.py` is `file`.

    A name whose home is the package itself is one of its modules.
    """
    with open(f"{file.removesuffix('.py')}.pyi", encoding="utf-8") as stub:
        homes = {name: home for home, name in _IMPORT.findall(stub.read())}
    namespace = vars(sys.modules[package])

    def load(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        if homes[name] == package:
            return import_module(f"{package}.{name}")
        value = namespace[name] = getattr(import_module(homes[name]), name)
        return value

    return load, lambda: sorted({*namespace, *homes}), sorted(homes)
