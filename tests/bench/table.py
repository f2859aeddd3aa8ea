"""The rows of the bench's table."""

from typing import NamedTuple

from rich.console import Console
from rich.table import Table

CONSOLE = Console(width=140)
FIGURES = {"target", "is", "before", "now", "change"}


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
    """Return the row of two times, in seconds."""
    return Row(what, against, target, ours / theirs, f"{ours * 1000:.0f} ms : {theirs * 1000:.0f} ms")


def count(what: str, target: float, ours: int, seen: str = "") -> Row:
    """Return the row of a number of calls."""
    return Row(what, "count", target, ours, seen)


def show(title: str, rows: list[Row]) -> None:
    """Print a part of the table as soon as it is measured."""
    table = lined(title, "what", "against", "target", "is", "", "figures")
    for row in rows:
        table.add_row(row.what, row.against, *judged(row), row.seen)
    CONSOLE.print(table)
    CONSOLE.print()


def show_all(parts: dict[str, list[Row]]) -> None:
    """Print every figure against its target, and how many of these are met."""
    table = lined("all", "part", "what", "against", "target", "is", "")
    for name, rows in parts.items():
        for row in rows:
            table.add_row(name, row.what, row.against, *judged(row))
    CONSOLE.print(table)
    verdicts = [row.verdict for rows in parts.values() for row in rows]
    CONSOLE.print(f"{verdicts.count('met')} targets met, {verdicts.count('MISSED')} missed")


def show_change(old: dict[str, list[Row]], new: dict[str, list[Row]]) -> None:
    """Print the figures of two runs beside each other; a dash where one has none."""
    table = lined("before and now", "part", "what", "against", "before", "now", "change", "target", "")
    for name in dict.fromkeys([*old, *new]):
        before, now = ({(row.what, row.against): row for row in run.get(name, [])} for run in (old, new))
        for key in dict.fromkeys([*before, *now]):
            was, is_ = before.get(key), now.get(key)
            target, _, verdict = judged(is_ or was)
            figures = [f"{row.value:.3g}" if row else "-" for row in (was, is_)]
            change = f"{is_.value / was.value - 1:+.0%}" if was and is_ and was.value else ""
            table.add_row(name, *key, *figures, change, target, verdict)
    CONSOLE.print(table)


def judged(row: Row) -> tuple[str, str, str]:
    """Return target, figure and verdict of a row, as they are printed."""
    return "" if row.target is None else f"<= {row.target:g}", f"{row.value:.3g}", row.verdict


def lined(title: str, *columns: str) -> Table:
    """Return an empty table without frames; figures are on the right."""
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, justify="right" if column in FIGURES else "left")
    return table
