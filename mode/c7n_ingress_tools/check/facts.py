"""A fact of a check: its name, its state, what was found, and the fix."""

from __future__ import annotations

from typing import NamedTuple

OK, WRONG = "ok", "wrong"
SIGNS = {OK: "✓", WRONG: "✗"}


class Fact(NamedTuple):
    """One line of a check."""

    name: str
    state: str
    said: str
    fix: str = ""

    def __str__(self) -> str:
        """Return the line, with the fix below it."""
        line = f"{SIGNS[self.state]} {self.name}: {self.said}"
        return f"{line}\n    fix: {self.fix}" if self.fix else line


def ok(name: str, said: str) -> Fact:
    """Return a fact that is as it should be."""
    return Fact(name, OK, said)


def wrong(name: str, said: str, fix: str) -> Fact:
    """Return a fact that is not as it should be."""
    return Fact(name, WRONG, said, fix)
