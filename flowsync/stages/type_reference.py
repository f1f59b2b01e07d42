"""Names of classes by which another process finds them: `module:qualified.name`.

Classes of the caller's main script are refused: workers do not run it (`flowsync.pipeline.spawning`), and it has another name there.
"""

import sys
from functools import lru_cache, reduce
from importlib import import_module
from types import ModuleType

from flowsync.model.errors import CannotCrossError


@lru_cache(maxsize=256)
def reference(kind: type) -> str:
    """Return the name of a class. Raise `CannotCrossError` when the name does not lead back to it."""
    name = f"{kind.__module__}:{kind.__qualname__}"
    if kind.__module__ == "__main__":
        raise CannotCrossError(
            f"{kind.__qualname__} cannot be sent to worker processes: it is defined in the main script, "
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
