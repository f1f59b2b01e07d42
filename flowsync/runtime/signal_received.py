"""A program that was asked to stop. On the ground floor, because all that takes care of foreign
code must let it pass; a module of its own, because `--help` loads it and nothing heavy.
"""


class SignalReceivedError(BaseException):
    """The user or the system asked the program to stop, by the signal of that number.

    No `Exception`: what runs meanwhile, such as the import of a plugin, does not take it for a
    failure of its own.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number
