"""The address of a version as its client would write it, for pages that hold addresses. Text in,
text out.

What a server is called is set where it is started. Where it is not, it is what the client calls it:
the `Host` of its request, if that can be one.
"""

import re
from typing import Final
from urllib.parse import quote

from flowsync.serve.http.target import Address

_HOST: Final = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]{0,253})|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?", re.ASCII
)


def version_url(url: str | None, host: str | None, address: Address) -> str | None:
    """Return the URL of the version that `address` means, with a slash at its end; `None` when
    nobody knows what the server is called.

    `url` is what it is called, with a slash at its end, and `host` the request's `Host`.
    """
    if url is None:
        if host is None or not _HOST.fullmatch(host.strip()):
            return None
        url = f"http://{host.strip().lower()}/"
    return f"{url}{quote(address.repository, safe='')}{_selector(address)}/"


def _selector(address: Address) -> str:
    if address.number is not None:
        return f"@{address.number}"
    if address.moment is not None:
        return f"@{quote(address.moment.isoformat(), safe=':+')}"
    return ""
