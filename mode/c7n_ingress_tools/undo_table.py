"""The table of an undo: each rule before and after, and the rules that are left alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.table import Table
from rich.text import Text

from c7n_ingress_tools.report import terminal
from c7n_ingress_tools.report.text import visible

if TYPE_CHECKING:
    from c7n_ingress_tools.undo import Done


def show(group: str, done: Done, *, preview: bool) -> None:
    """Print the table, and a line for each rule that is left alone, failed or was back already."""
    console = terminal.console()
    if done.changes:
        table = Table("rule", "protocol", "ports", "before", "after", "description", box=box.SIMPLE)
        for each in done.changes:
            cells = (each[key] for key in ("rule", "protocol", "ports", "was", "now", "description"))
            table.add_row(*(Text(visible(str("-" if cell is None else cell))) for cell in cells))
        console.print(f"{group}: {'would change, nothing is changed yet' if preview else 'undone'}")
        console.print(table)
    else:
        console.print(f"{group}: nothing to undo")
    for line in [*done.notes, *done.problems]:
        console.print(Text(visible(line)), soft_wrap=True)
