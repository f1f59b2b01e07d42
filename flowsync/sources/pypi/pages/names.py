"""Names of projects and files, and versions, as far as they are texts: which are allowed, and how
names are spelled in one way.

Everything upstream says goes through here before it becomes a path or a key.
"""

import re
from typing import Final

LONGEST_NAME: Final = 128
LONGEST_FILENAME: Final = 200
LONGEST_VERSION: Final = 128

_NORMALIZED: Final = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_SEPARATORS: Final = re.compile(r"[-_.]+")
_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_FILENAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!-]*")
_VERSION: Final = re.compile(r"[0-9A-Za-z.+!-]+")


def normalized(name: str) -> str:
    """Return the one spelling of a project's name: `Foo._Bar` is `foo-bar`."""
    if _NORMALIZED.fullmatch(name):
        return name
    return _SEPARATORS.sub("-", name).lower()


def is_normalized(name: str) -> bool:
    """Say whether a name is allowed and spelled in the one way."""
    return len(name) <= LONGEST_NAME and _NORMALIZED.fullmatch(name) is not None


def project_name(name: str) -> str | None:
    """Return the one spelling of a name that is allowed, `None` for any other text."""
    if len(name) > LONGEST_NAME:
        return None
    if _NORMALIZED.fullmatch(name):
        return name
    return _SEPARATORS.sub("-", name).lower() if _NAME.fullmatch(name) else None


def problem_with_name(name: str) -> str | None:
    """Return why a text cannot be the name of a project, `None` when it can."""
    if len(name) > LONGEST_NAME:
        return f"has more than {LONGEST_NAME} characters"
    if _NAME.fullmatch(name):
        return None
    return "is not made of letters, digits, '.', '_' and '-', with a letter or digit at both ends"


def problem_with_filename(filename: str) -> str | None:
    """Return why a text cannot be the name of a file, `None` when it can."""
    if len(filename) > LONGEST_FILENAME:
        return f"has more than {LONGEST_FILENAME} characters"
    if _FILENAME.fullmatch(filename):
        return None
    return "is not made of letters, digits and '._+!-', beginning with a letter or digit"


def problem_with_version(version: str) -> str | None:
    """Return why a text cannot be a version, `None` when it can. It may still be none that can be
    compared.
    """
    if len(version) > LONGEST_VERSION:
        return f"has more than {LONGEST_VERSION} characters"
    return None if _VERSION.fullmatch(version) else "is not made of letters, digits and '.+!-'"
