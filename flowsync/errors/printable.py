"""Text that came from outside, made fit to be shown, recorded and sent on.

What cannot be shown (a surrogate, a control character, a sign that turns the direction of text)
neither fits a database nor belongs on a terminal.
"""

from typing import Final

REPLACEMENT: Final = "\ufffd"


def printable(text: str, most: int | None = None) -> str:
    """Return the text with a space for white space and U+FFFD for what cannot be shown, cut to
    `most` characters.
    """
    if not text.isprintable():
        text = "".join(map(_shown, text))
    if most is not None and len(text) > most:
        return f"{text[: most - 1]}…"
    return text


def _shown(character: str) -> str:
    if character.isprintable():
        return character
    return " " if character in "\t\r\n" else REPLACEMENT
