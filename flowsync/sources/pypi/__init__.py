"""The pypi source: indexes of Python packages, whole or by selection."""
