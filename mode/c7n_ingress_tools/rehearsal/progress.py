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
    show: Callable[[float], None]
    """Shows which share of the step is done, from 0 to 1."""


@dataclass(frozen=True)
class Progress:
    """Shows what is being done, and what is done."""

    console: Console

    @contextmanager
    def step(self, text: str) -> Iterator[Step]:
        """Show a bar while a step runs, where the output is a terminal, and a line afterwards."""
        start = time.monotonic()
        columns = SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TaskProgressColumn()
        shown = self.console.is_terminal
        with Bar(*columns, TimeRemainingColumn(), console=self.console, transient=True, disable=not shown) as bar:
            task = bar.add_task(text, total=None)
            step = Step(text, lambda share: bar.update(task, total=1, completed=share))
            yield step
        seconds = f"  {time.monotonic() - start:.1f} s"
        self.console.print(Text.assemble(("✓ ", "green"), step.text, (seconds, "dim")))
