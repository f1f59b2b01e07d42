"""The pypi source: indexes of Python packages, whole or by selection."""

from flowsync.sources.pypi.content import PythonFile, PythonProject
from flowsync.sources.pypi.kind import SOURCE
from flowsync.sources.pypi.options import PypiOptions

__all__ = ["SOURCE", "PypiOptions", "PythonFile", "PythonProject"]
