"""What a person sees of the loop: progress, then one table, the verdicts, the calls, a message and the files."""

from __future__ import annotations

import io
import sys
import time
from collections import Counter
from contextlib import contextmanager
from itertools import groupby
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mode.local.loop import Result

PIPE_WIDTH = 120
NOTHING = "-"
SHOWN_ROWS = 40
SHOWN_NAMES = 8
SHOWN_FAILURES = 10
READS = ("DescribeSecurityGroups", "DescribeSecurityGroupRules")
CHANGES = ("AuthorizeSecurityGroupIngress", "ModifySecurityGroupRules", "RevokeSecurityGroupIngress")


def console() -> Console:
    """Give the console: as wide as the terminal, or as a pipe's reader may like it."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)


class Progress:
    """Says what is being done, while it is, and what has been."""

    def __init__(self, console: Console) -> None:
        self._console = console

    @contextmanager
    def step(self, text: str, total: int | None = None) -> Iterator[Callable[[], None]]:
        """Show a step with its bar, and leave one line when it is done; gives what is called as its parts are done."""
        start = time.monotonic()
        with self._bar(text, total) as advance:
            yield advance
        parts = f"  {total}" if total else ""
        seconds = f"  {time.monotonic() - start:.1f} s"
        self._console.print(Text.assemble(("✓ ", "green"), text, (parts, "bold"), (seconds, "dim")))

    @contextmanager
    def _bar(self, text: str, total: int | None) -> Iterator[Callable[[], None]]:
        """Show a bar that is gone afterwards; nothing where nobody watches."""
        if not self._console.is_terminal:
            yield lambda: None
            return
        bars = [BarColumn(), MofNCompleteColumn()] if total else []
        columns = [SpinnerColumn(), TextColumn("{task.description}"), *bars]
        with Bar(*columns, console=self._console, transient=True) as bar:
            task = bar.add_task(text, total=total)
            yield lambda: bar.advance(task)


def show(result: Result, console: Console) -> None:
    """Print the whole result, and write the table into a file, too."""
    full = table(result, rows=len(result.records))
    wide = Console(file=io.StringIO(), width=PIPE_WIDTH)
    wide.print(full)
    (result.folder / "changes.txt").write_text(wide.file.getvalue(), encoding="utf-8")

    console.print()
    console.print(table(result, rows=SHOWN_ROWS))
    more = len(result.records) - SHOWN_ROWS
    if more > 0:
        console.print(Text(f"… and {more} more: see {result.folder / 'changes.txt'}", "dim"))
    console.print(left_alone(result))
    console.print()
    console.print(summary(result))
    if result.messages:
        console.print()
        console.print(message(result))
    for failure in result.failures[:SHOWN_FAILURES]:
        console.print(Text.assemble(("✗ ", "bold red"), printable(failure)))
    if len(result.failures) > SHOWN_FAILURES:
        console.print(Text(f"✗ and {len(result.failures) - SHOWN_FAILURES} more", "bold red"))


def table(result: Result, rows: int) -> Table:
    """Make the table of changes: one row a record, the records of a group together, in the order of the file."""
    made = Table(
        "security group", "rule", "before", "after", "how", box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False
    )
    order = {group["GroupId"]: position for position, group in enumerate(result.groups)}
    records = sorted(result.records, key=lambda record: order[record["group"]])[:rows]
    for group, members in groupby(records, key=lambda record: (record["group"], record["group_name"])):
        for position, record in enumerate(members):
            made.add_row(
                Text.assemble(printable(group[1]), "  ", (group[0], "dim")) if position == 0 else "",
                traffic(record),
                Text(record["was"] or NOTHING, "red"),
                Text(record["now"] or NOTHING, "green"),
                Text(record["how"], "dim"),
            )
    return made


def traffic(record: dict[str, Any]) -> str:
    """Say a record's protocol and ports for people: EC2 writes all traffic as -1, some protocols as their numbers."""
    protocol, ports = record["protocol"], record["ports"]
    if protocol == "-1":
        return "all traffic"
    if protocol.isdigit():
        return f"protocol {protocol}"
    return f"{protocol} {ports}"


def left_alone(result: Result) -> Text:
    """Say which groups were not touched; a tag that asks for it is the reason that a person wants to see."""
    touched = {record["group"] for record in result.records}
    names = []
    for group in result.groups:
        if group["GroupId"] not in touched:
            until = next((tag["Value"] for tag in group["Tags"] if tag["Key"] == "open-ingress-until"), None)
            names.append(printable(group["GroupName"]) + (f" (open-ingress-until {printable(until)})" if until else ""))
    if not names:
        return Text("every group was touched", "dim")
    more = f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else ""
    return Text(f"left alone: {', '.join(names[:SHOWN_NAMES])}{more}", "dim")


def summary(result: Result) -> Table:
    """Make the few figures: verdicts, calls, files."""
    made = Table.grid(padding=(0, 2))
    made.add_column(style="bold", no_wrap=True)
    made.add_column(style="dim", no_wrap=True)
    made.add_column()
    made.add_row("AWS Config's verdict", "before", verdicts(result.before))
    made.add_row("", "after", verdicts(result.after))
    made.add_row("API calls to EC2", "change", counts(result, CHANGES))
    made.add_row("", "read", counts(result, READS))
    made.add_row("files", "", Text(f"{result.folder}", "cyan"))
    return made


def verdicts(by_group: dict[str, str]) -> Text:
    """Say how often each verdict was given."""
    styles = {"COMPLIANT": "green", "NON_COMPLIANT": "red"}
    times = Counter(by_group.values())
    return Text("  ").join(
        Text(f"{times[verdict]} {verdict}", styles.get(verdict, "")) for verdict in sorted(times, reverse=True)
    )


def counts(result: Result, actions: tuple[str, ...]) -> str:
    """Say how often each of the actions was called."""
    return ", ".join(f"{result.calls[action]} {action}" for action in actions)


def message(result: Result) -> Panel:
    """Show one message as a subscriber gets it: the one about the most changes."""
    most = Counter(record["group"] for record in result.records).most_common(1)
    about = most[0][0] if most else ""
    chosen = next((each for each in result.messages if about in each["Message"]), result.messages[0])
    parts = Text(printable(chosen["Message"].strip()))
    title = Text(f" {printable(chosen['Subject'])} ", "bold")
    subtitle = Text(f" message 1 of {len(result.messages)}, as a subscriber of the topic gets it ", "dim")
    return Panel(parts, title=title, subtitle=subtitle, title_align="left", subtitle_align="left", border_style="dim")


def printable(text: str) -> str:
    """Return what somebody typed with nothing in it that a terminal would obey."""
    return "".join(letter if letter.isprintable() or letter == "\n" else "\ufffd" for letter in text)
