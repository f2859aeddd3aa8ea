"""Progress in a terminal: a bar while a step runs, and one line when it is done."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    SpinnerColumn,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console


@dataclass
class Share:
    """A step whose done share, from 0 to 1, is known; `text` is the line that is printed when it is done."""

    text: str
    advance: Callable[[float], None]

    def __call__(self, share: float) -> None:
        """Show that this share is done."""
        self.advance(share)


class Progress:
    """Shows what is being done, and what is done."""

    def __init__(self, console: Console) -> None:
        self._console = console

    @contextmanager
    def step(self, text: str, total: int | None = None) -> Iterator[Callable[[], None]]:
        """Show a step with its bar, and one line when it is done.

        :returns: what to call when a part of the step is done.
        """
        start = time.monotonic()
        with self._bar(text, total) as advance:
            yield advance
        parts = f"  {total}" if total else ""
        seconds = f"  {time.monotonic() - start:.1f} s"
        self._console.print(Text.assemble(("✓ ", "green"), text, (parts, "bold"), (seconds, "dim")))

    @contextmanager
    def share(self, text: str) -> Iterator[Share]:
        """Show a step with the share that is done and the time left, and one line when it is done."""
        start = time.monotonic()
        if self._console.is_terminal:
            columns = [SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TaskProgressColumn()]
            with Bar(*columns, TimeRemainingColumn(), console=self._console, transient=True) as bar:
                task = bar.add_task(text, total=1)
                step = Share(text, lambda share: bar.update(task, completed=share))
                yield step
        else:
            step = Share(text, lambda _: None)
            yield step
        seconds = f"  {time.monotonic() - start:.1f} s"
        self._console.print(Text.assemble(("✓ ", "green"), step.text, (seconds, "dim")))

    @contextmanager
    def _bar(self, text: str, total: int | None) -> Iterator[Callable[[], None]]:
        """Show a bar while the step runs; nothing if the output is not a terminal."""
        if not self._console.is_terminal:
            yield lambda: None
            return
        bars = [BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()] if total else []
        columns = [SpinnerColumn(), TextColumn("{task.description}"), *bars]
        with Bar(*columns, console=self._console, transient=True) as bar:
            task = bar.add_task(text, total=total)
            yield lambda: bar.advance(task)
