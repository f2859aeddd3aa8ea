"""The rows of the bench's table."""

from typing import NamedTuple

from rich.console import Console
from rich.table import Table

CONSOLE = Console(width=140)


class Row(NamedTuple):
    """One line: what was measured, against what, how it came out, and what was wanted."""

    what: str
    against: str
    target: float | None
    """The most that it may be; None where there is nothing to hold it against."""
    value: float
    seen: str
    """The figures behind the value."""

    @property
    def verdict(self) -> str:
        """Say whether the target is met."""
        if self.target is None:
            return ""
        return "met" if self.value <= self.target else "MISSED"


def ratio(what: str, against: str, target: float | None, ours: float, theirs: float) -> Row:
    """Give the row of two times, in seconds."""
    return Row(what, against, target, ours / theirs, f"{ours * 1000:.0f} ms : {theirs * 1000:.0f} ms")


def count(what: str, target: float, ours: int, seen: str = "") -> Row:
    """Give the row of a number of calls."""
    return Row(what, "count", target, ours, seen)


def show(title: str, rows: list[Row]) -> None:
    """Print a part of the table as soon as it is measured."""
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
    for column in ("what", "against", "target", "is", "", "figures"):
        table.add_column(column, justify="right" if column in ("target", "is") else "left")
    for row in rows:
        target = "" if row.target is None else f"<= {row.target:g}"
        table.add_row(row.what, row.against, target, f"{row.value:.3g}", row.verdict, row.seen)
    CONSOLE.print(table)
    CONSOLE.print()
