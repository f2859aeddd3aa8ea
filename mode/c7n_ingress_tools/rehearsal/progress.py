"""Progress in a terminal: a bar while a step runs, and one line when it is done."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.progress import BarColumn, SpinnerColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console


@dataclass
class Step:
    """A step that runs; `text` is printed when it is done."""

    text: str
    total: int
    show: Callable[[float], None]
    done: int = 0

    def advance(self) -> None:
        """Show that one more part is done."""
        self.done += 1
        self.show(self.done / self.total)


@dataclass(frozen=True)
class Progress:
    """Shows what is being done, and what is done."""

    console: Console

    @contextmanager
    def step(self, text: str, total: int = 0, *, shares: bool = False) -> Iterator[Step]:
        """Show a bar while a step runs, where the output is a terminal, and a line afterwards.

        :param shares: whether the step shows which share of it is done, from 0 to 1.
        """
        start = time.monotonic()
        more = [BarColumn(), TaskProgressColumn(), TimeRemainingColumn()] if total or shares else []
        columns = [SpinnerColumn(), TextColumn("{task.description}"), *more]
        with Bar(*columns, console=self.console, transient=True, disable=not self.console.is_terminal) as bar:
            task = bar.add_task(text, total=1 if more else None)
            step = Step(text, total, lambda share: bar.update(task, completed=share))
            yield step
        parts = f"  {total}" if total else ""
        seconds = f"  {time.monotonic() - start:.1f} s"
        self.console.print(Text.assemble(("✓ ", "green"), step.text, (parts, "bold"), (seconds, "dim")))
