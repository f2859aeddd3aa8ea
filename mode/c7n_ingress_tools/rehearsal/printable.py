"""What somebody typed, for a terminal."""


def printable(text: str) -> str:
    """Return what somebody typed with nothing in it that a terminal would obey."""
    return "".join(letter if letter.isprintable() or letter == "\n" else "\ufffd" for letter in text)
