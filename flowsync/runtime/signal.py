"""A level that others react to: set or clear, with callbacks on the change to set.

`batches()` reads the level to decide and is woken by the edge, so that a signal which stays set
never makes it spin.
"""

from collections.abc import Callable


class Signal:
    """One bit with an audience. Belongs to one loop; calls its subscribers synchronously, they must
    only wake someone.
    """

    __slots__ = ("_subscribers", "_value")

    def __init__(self) -> None:
        self._value = False
        self._subscribers: list[Callable[[], None]] = []

    def __bool__(self) -> bool:
        return self._value

    def set(self) -> None:
        """Raise the level and tell the subscribers, unless it is raised already."""
        if not self._value:
            self._value = True
            for wake in tuple(self._subscribers):
                wake()

    def clear(self) -> None:
        """Lower the level."""
        self._value = False

    def subscribe(self, wake: Callable[[], None]) -> None:
        """Call `wake` whenever the level rises."""
        self._subscribers.append(wake)

    def unsubscribe(self, wake: Callable[[], None]) -> None:
        """Stop calling `wake`."""
        self._subscribers.remove(wake)
