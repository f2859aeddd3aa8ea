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
        """Show a step, with the parts that are done if there are some, and one line when it is done.

        :returns: what to call when a part of the step is done.
        """
        done = 0
        with self._shown(text, f"  {total}" if total else "", known=bool(total)) as share:

            def advance() -> None:
                nonlocal done
                done += 1
                share(done / (total or done))

            yield advance

    @contextmanager
    def share(self, text: str) -> Iterator[Share]:
        """Show a step with the share that is done and the time left, and one line when it is done."""
        with self._shown(text) as share:
            yield share

    @contextmanager
    def _shown(self, text: str, parts: str = "", *, known: bool = True) -> Iterator[Share]:
        """Show a bar while the step runs, where the output is a terminal, and a line afterwards."""
        start = time.monotonic()
        more = [BarColumn(), TaskProgressColumn(), TimeRemainingColumn()] if known else []
        columns = [SpinnerColumn(), TextColumn("{task.description}"), *more]
        with Bar(*columns, console=self._console, transient=True, disable=not self._console.is_terminal) as bar:
            task = bar.add_task(text, total=1 if known else None)
            share = Share(text, lambda done: bar.update(task, completed=done))
            yield share
        seconds = f"  {time.monotonic() - start:.1f} s"
        self._console.print(Text.assemble(("✓ ", "green"), share.text, (parts, "bold"), (seconds, "dim")))
