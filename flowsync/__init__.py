"""flowsync brings remote repositories into immutable, numbered repository versions.

`__init__.pyi` lists the whole public surface, for type checkers and for this module. A name is
loaded when it is first used, so that importing the package costs a few milliseconds and loads
neither the HTTP client nor the database driver.
"""

from flowsync.lazy_names import lazy_names

# Programs that were written before these rooms were there go on.
__getattr__, __dir__, __all__ = lazy_names(
    __name__, __file__, moved=("flowsync.errors", "flowsync.stages", "flowsync.library")
)
