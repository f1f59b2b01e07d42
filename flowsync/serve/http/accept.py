"""What a client prefers, by `Accept` and `Accept-Encoding` (RFC 9110, section 12). Text in, a
choice out.

What cannot be understood counts as not said. A client that takes none of what there is gets the
first: it can tell by the type that it got something else, and many send lists that are too short.
"""

from collections.abc import Sequence
from typing import Final

_LONGEST: Final = 64
"""Entries of a list that count."""


def best_type(accept: str | None, offered: Sequence[str]) -> str:
    """Return the one of the offered media types that the client likes best, of equal ones the
    first. `offered` is not empty.
    """
    ranges = _weights(accept)
    liked = {kind: _weight_of(kind.lower(), ranges) for kind in offered}
    best = max(offered, key=lambda kind: liked[kind])
    return best if liked[best] > 0 else offered[0]


def takes_gzip(accept_encoding: str | None) -> bool:
    """Say whether a client that sent this `Accept-Encoding` wants a body as gzip."""
    weights = _weights(accept_encoding)
    return weights.get("gzip", weights.get("x-gzip", weights.get("*", 0.0))) > 0


def _weights(header: str | None) -> dict[str, float]:
    """Return the entries of a list with their weights; of one that comes twice, the larger."""
    weights: dict[str, float] = {}
    for entry in (header or "").split(",", _LONGEST)[:_LONGEST]:
        name, *parameters = (part.strip().lower() for part in entry.split(";"))
        if name:
            weights[name] = max(weights.get(name, 0.0), _weight(parameters))
    return weights


def _weight(parameters: Sequence[str]) -> float:
    """Return the weight among the parameters of an entry, 1 if there is none."""
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                found = float(parameter[2:])
            except ValueError:
                return 0.0
            # What is no number compares with nothing.
            return found if 0.0 <= found <= 1.0 else 0.0
    return 1.0


def _weight_of(kind: str, ranges: dict[str, float]) -> float:
    family = kind.partition("/")[0]
    for wanted in (kind, f"{family}/*", "*/*"):
        if wanted in ranges:
            return ranges[wanted]
    return 0.0
