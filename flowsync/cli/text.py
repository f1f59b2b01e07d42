"""Numbers and messages as people read them."""


def format_bytes(count: float) -> str:
    """Return a number of bytes with the decimal unit that leaves one to three digits before the point."""
    unit = "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if count < 999.5:
            break
        count, unit = count / 1000, larger
    return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"


def one_line(text: str) -> str:
    """Return the text as one line without anything that a terminal would obey: upstream's words may be in it."""
    return "".join(map(_shown, " ".join(text.split())))


def _shown(character: str) -> str:
    return character if character.isprintable() else ascii(character)[1:-1]
