"""Throw-away keys."""

import pysequoia

from flowsync.packages.openpgp import SigningKey


def make_key(name: str = "one") -> SigningKey:
    return SigningKey(pysequoia.Tsk.generate(f"{name} <{name}@example.org>"))
