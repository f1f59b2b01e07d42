"""The standard descriptors of the process: input, output, errors (0, 1, 2).

A supervisor may start a program with some of them closed. The next socket or file that is opened
takes such a number then: the event loop aborts when it must close it, and children write their
words into it. So a missing one is opened on the null device before anything else is opened.
"""

import os

_LAST_STANDARD = 2


def open_missing_descriptors() -> None:
    """Open the standard descriptors that are closed on the null device; children inherit them."""
    # The system gives the lowest free number, so the first one above them says that none is missing.
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= _LAST_STANDARD:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
