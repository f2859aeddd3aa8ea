"""Texts that people typed, safe to show. Pure."""


def visible(text: str) -> str:
    """Show by its number, such as `⟨U+202E⟩`, each letter that a page, a terminal or a spreadsheet obeys or refuses.

    Those are control characters, NUL among them, overrides of the direction of writing, and halves of surrogate pairs.
    """
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else f"⟨U+{ord(letter):04X}⟩" for letter in text)


def counted(number: int, noun: str) -> str:
    """Return a number and its noun, in the plural if there is not exactly one."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
