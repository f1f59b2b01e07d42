"""Names of classes by which another process finds them: `module:qualified.name`.

Classes of the caller's main script have no such name: workers do not run it
(`flowsync.runtime.spawning`). Whoever can do without a worker asks `is_at_home` first; `reference`
refuses them.
"""

import sys
from functools import lru_cache, reduce
from importlib import import_module
from types import ModuleType

from flowsync.errors import CannotCrossError


def is_at_home(kind: type) -> bool:
    """Say whether a class is of the main script, which no other process knows."""
    return kind.__module__ == "__main__"


@lru_cache(maxsize=256)
def reference(kind: type) -> str:
    """Return the name of a class. Raise `CannotCrossError` when the name does not lead back
    to it.
    """
    name = f"{kind.__module__}:{kind.__qualname__}"
    if is_at_home(kind):
        raise CannotCrossError(
            f"{kind.__qualname__} cannot be sent to worker processes: it is defined in the "
            "main script, "
            "which they do not run; define it in a module of its own"
        )
    module = sys.modules.get(kind.__module__)
    try:
        found = None if module is None else _find(module, kind.__qualname__)
    except AttributeError:
        found = None
    if found is not kind:
        raise CannotCrossError(
            f"{name} cannot be sent to worker processes: they would not find it by this name; "
            "define it at the top of a module"
        )
    return name


@lru_cache(maxsize=256)
def referred(name: str) -> type:
    """Return the class of that name, importing its module. Raise what importing raises."""
    module, _, qualified = name.partition(":")
    return _find(import_module(module), qualified)


def _find(module: ModuleType, qualified: str) -> type:
    found: type = reduce(getattr, qualified.split("."), module)  # type: ignore[assignment]
    return found
