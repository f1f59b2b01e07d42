"""What a program does with `flowsync.toml`: reads it, finds the installed kinds of source, and
begins the syncs that it asks for, as the command line does.
"""

from flowsync.lazy_names import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
