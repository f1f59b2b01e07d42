"""What is done with repositories, their versions and their runs: for command lines, daemons and
pages. `__init__.pyi` lists it all.

Each function takes an open engine. Besides what its docstring says, it raises `EngineClosedError`
when the engine is not open or is closed meanwhile, `CatalogError` when the database fails, and
`StoreError` when the store does. Results are plain, frozen values.
"""

from flowsync.lazy_names import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
