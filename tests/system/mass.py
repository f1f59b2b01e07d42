"""An upstream with any number of units and next to no bytes: bodies repeat, and only the manifest
knows all paths.
"""

import hashlib
from typing import Final

from tests.upstream.server import Upstream

BODIES: Final = [f"body {number}\n".encode() for number in range(64)]
"""What the units have, in turn. Exports link each so often that a file system runs out of links now
and then.
"""

_HEADS: Final = [f"{hashlib.sha256(body).hexdigest()},{len(body)}\n" for body in BODIES]
_SERVED: Final = 5_000
"""Paths that have their bodies, so that all bodies can be had from one of them."""


def publish_units(upstream: Upstream, folder: str, units: int, generation: int = 0) -> str:
    """Publish so many units below `folder` and return the manifest's URL. Between two generations
    one unit in ten changes.
    """
    upstream.put(f"{folder}/PULP_MANIFEST", _manifest(units, generation))
    for number in range(min(units, _SERVED)):
        upstream.put(f"{folder}/{_path(number)}", BODIES[_body(number, generation)])
    return upstream.url(f"{folder}/PULP_MANIFEST")


def _manifest(units: int, generation: int) -> bytes:
    lines = (f"{_path(number)},{_HEADS[_body(number, generation)]}" for number in range(units))
    return "".join(lines).encode()


def _path(number: int) -> str:
    return f"{number // 500:05d}/file-{number:07d}.bin"


def _body(number: int, generation: int) -> int:
    turned = generation if number % 10 == 0 else 0
    return (number + turned) % len(BODIES)
