"""The built-in stages, one file a stage, and what stages are made of; `__init__.pyi` lists them.

Each stage reads what a batch needs, calls its port once, writes the answers back, and puts the
items on.
"""

from flowsync.lazy_names import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
