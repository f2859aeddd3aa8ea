"""Texts as people read them; what they typed is safe to show. Pure."""

from collections.abc import Iterable


def visible(text: str) -> str:
    """Show by its number, such as `⟨U+202E⟩`, each letter that a page, a terminal or a spreadsheet obeys or refuses.

    Those are control characters, NUL among them, overrides of the direction of writing, and halves of surrogate pairs.
    """
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else f"⟨U+{ord(letter):04X}⟩" for letter in text)


def first(texts: Iterable[str], most: int = 5) -> str:
    """Return the first texts, and how many more there are."""
    texts = list(texts)
    more = [f"{len(texts) - most} more"] if len(texts) > most else []
    return ", ".join([*texts[:most], *more])
