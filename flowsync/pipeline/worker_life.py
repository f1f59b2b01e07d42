"""What every worker process does first: makes sure that it can be ended, and ends with its parent; looks for garbage rarely.

Each worker imports this module when it starts, so it is light: no event loop, no msgspec.
"""

import multiprocessing
import os
import signal
import threading

from flowsync.pipeline.collector import collect_rarely

_SECONDS_BETWEEN_LOOKS = 5.0


def settle_in() -> None:
    """Make this process one that can be ended: by SIGTERM, whatever the parent does with it, and by the parent's death. Called once, first of all."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, {signal.SIGINT, signal.SIGHUP})
    threading.Thread(target=_end_with_parent, name="end-with-parent", daemon=True).start()
    collect_rarely()


def _end_with_parent() -> None:
    """Wait until the parent is gone, however it went, and go too.

    The workers of a pool hold each other's queues open, so a killed parent is no end of file to them; without this they would live for
    ever. Processes that the caller forked can hold the parent's end open too: that is why the parent's id is looked at now and then.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    while parent.is_alive() and os.getppid() == parent.pid:
        parent.join(_SECONDS_BETWEEN_LOOKS)
    os._exit(1)
