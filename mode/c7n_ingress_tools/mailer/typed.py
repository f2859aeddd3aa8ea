"""Make what somebody typed safe to show: names, descriptions and tags become text on one line, with broken links."""

from __future__ import annotations

import re
from typing import Any

LINK = re.compile(r"(?<=[^\W_])\.(?=[^\W\d_])")
"""The dot in a word that a mail reader takes for a host: 10.0.0.0/8 has none."""

ADDRESS = re.compile(r"[\w.+-]+@[\w-]+(\.[\w-]+)+")
"""An e-mail address stays whole: it says who owns a group."""

QUOTES = str.maketrans(dict.fromkeys('"“”', "'"))
"""Messages put double quotes around what somebody typed."""


def clean(text: Any, most: int = 120) -> str:
    """Return a text on one line, printable, no longer than a person reads, and with broken links."""
    words = plain(text, most).split()
    return " ".join(
        word if ADDRESS.fullmatch(word) else LINK.sub("[.]", word.replace("://", "[:]//")) for word in words
    )


def plain(text: Any, most: int) -> str:
    """Return a text on one line, printable and no longer than so many characters; links stay whole."""
    whole = "" if text is None else str(text)
    line = "".join(letter if letter.isprintable() else " " for letter in whole[:most]) + "…" * (len(whole) > most)
    return " ".join(line.translate(QUOTES).split())


def quoted(text: Any, most: int = 120) -> str:
    """Return a clean text in double quotes, or nothing where there is none."""
    shown = clean(text, most)
    return f'"{shown}"' if shown else ""


def listed(value: Any) -> list[Any]:
    """Return a list, or none where a message has something else."""
    return value if isinstance(value, list) else []


def mapped(value: Any) -> dict[str, Any]:
    """Return a mapping, or an empty one where a message has something else."""
    return value if isinstance(value, dict) else {}
