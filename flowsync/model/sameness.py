"""When an entity tag proves that a body is still the same. Pure.

1. Only a strong tag stands for bytes. A weak one (`W/"…"`) says that another body would do as well,
   and a date says nothing: a body may be replaced by one with the same date, or an older one.
2. Most servers make tags of files out of date and size. Such a tag is taken at its word, but not
   while the body is young: it might change again within the second that the tag tells apart. Then
   the answer's own `Date` is less than two seconds behind `Last-Modified`. Tags of 32 hexadecimal
   digits or more are taken for digests, which age does not matter to.
3. An answer "not modified" counts only for the tag that was asked for. Servers may compare tags
   weakly, and then name the one that they mean.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Final

YOUNG: Final = 2.0
"""Seconds in which the date of a body may hide a further change."""

_STRONG: Final = re.compile(r'"[\x21\x23-\x7e]*"')
_DIGEST: Final = re.compile(r'"[0-9a-fA-F]{32,}"')


def is_strong(tag: str | None) -> bool:
    """Say whether an entity tag is one, in ASCII, and strong."""
    return tag is not None and _STRONG.fullmatch(tag) is not None


def proving_tag(tag: str | None, headers: Mapping[str, str]) -> str | None:
    """Return the entity tag of an answer if it will prove that the body is the same; `headers` are
    the answer's, in lower case.
    """
    if tag is None or not is_strong(tag):
        return None
    return tag if _DIGEST.fullmatch(tag) or not _is_young(headers) else None


def _is_young(headers: Mapping[str, str]) -> bool:
    modified = headers.get("last-modified")
    if modified is None:
        return False
    changed, now = _moment(modified), _moment(headers.get("date", ""))
    return changed is None or now is None or (now - changed).total_seconds() < YOUNG


def _moment(text: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(text)
    except (ValueError, OverflowError, TypeError, IndexError):
        return None
    return found if found.tzinfo is not None else None
