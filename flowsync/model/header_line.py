"""What may stand in a header line that is sent. Names are tokens; values hold no control characters
(RFC 9110, 5.5).
"""

import re
from typing import Final

_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE: Final = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]*")


def why_unsendable(name: str, value: str) -> str | None:
    """Return why the header cannot be sent, or `None` when it can. The value is not in the text: it
    may be secret.
    """
    if not _NAME.fullmatch(name):
        return f"{name!r} cannot be the name of a header"
    if not _VALUE.fullmatch(value):
        return f"the value of header {name!r} holds control characters or a lone surrogate"
    return None
