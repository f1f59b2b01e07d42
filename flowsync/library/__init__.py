"""What is done with repositories, their versions and their runs: for command lines, daemons and
pages. Each function takes an open engine; `__init__.pyi` lists them.
"""

from flowsync.lazy_names import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
