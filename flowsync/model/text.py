"""Text that every part of flowsync can hold: the catalog's database takes neither NUL nor lone
surrogates.
"""


def problem_with_text(text: object) -> str | None:
    """Return what keeps `text` from being recorded, such as "holds a NUL"; None when
    nothing does.
    """
    if not isinstance(text, str):
        return f"is no text but of type {type(text).__name__}"
    if text.isascii():
        return "holds a NUL" if "\0" in text else None
    if "\0" in text:
        return "holds a NUL"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "holds a lone surrogate, which is no valid Unicode"
    return None
