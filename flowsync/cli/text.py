"""Numbers, URLs and messages as people read them."""

from urllib.parse import urlsplit


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


def visible(text: str) -> str:
    """Return the text, of one line or several, without anything that a terminal would obey."""
    if text.isprintable():
        return text
    return "\n".join(
        line if line.isprintable() else "".join(map(_shown, line)) for line in text.split("\n")
    )


def visible_line(text: str) -> str:
    """Return the text as one line without anything that a terminal would obey, its blanks as they are."""
    return text if text.isprintable() else "".join(map(_shown, text))


def without_password(conninfo: str) -> str:
    """Return a database URL without user, password and parameters; any other text that holds a connection is not shown at all."""
    parts = urlsplit(conninfo)
    if not parts.hostname:
        return "set (not shown)"
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname}{port}{parts.path}"


def _shown(character: str) -> str:
    if character.isprintable():
        return character
    # How Python says a byte of a path or an argument that is no text.
    byte = ord(character) - 0xDC00
    return f"\\x{byte:02x}" if 0x80 <= byte <= 0xFF else ascii(character)[1:-1]
