"""flowsync brings remote repositories into immutable, numbered repository versions.

This is the whole public surface. Names are loaded on first use, so that importing the package costs a few milliseconds and loads neither the
HTTP client nor the database driver.
"""
