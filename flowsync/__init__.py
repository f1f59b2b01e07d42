"""flowsync brings remote repositories into immutable, numbered repository versions.

`__init__.pyi` lists the whole public surface, for type checkers and for this module. A name is
loaded when it is first used (PEP 562), so that importing the package costs a few milliseconds and
loads neither the HTTP client nor the database driver.
"""

import re
from importlib import import_module
from typing import Any

_IMPORT = re.compile(r"^from (\S+) import (?:\(\s*)?(\w+) as \2", re.MULTILINE)

with open(f"{__file__.removesuffix('.py')}.pyi", encoding="utf-8") as _stub:
    _HOMES = {name: home for home, name in _IMPORT.findall(_stub.read())}

__all__ = sorted(_HOMES)  # noqa: PLE0605 - __init__.pyi spells it out


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'flowsync' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
