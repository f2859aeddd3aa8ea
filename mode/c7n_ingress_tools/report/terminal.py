"""The same rows in a terminal."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from c7n_ingress.decide import states
from c7n_ingress.decide.states import counted
from c7n_ingress_tools.report.text import visible

if TYPE_CHECKING:
    from collections.abc import Iterator

    from c7n_ingress_tools.report.rows import Report, Row

PIPE_WIDTH, WIDE = 120, 200
MOODS = {"bad": "bold red", "look": "yellow", "good": "green"}
STATES = {state.name: MOODS[state.mood] for state in states.URGENCY}
EXPOSED = {"internet": "bold red", "unused": "dim"}
NARROW = 120
"""A table of accounts and regions needs as many columns to have one of reasons, too."""
SHOWN_ROWS = 40
SHOWN_PLACES = 60
SHOWN_CALLERS = 3
SHOWN_FAILURES = 10


def console(*, of_errors: bool = False, in_pipe: int = PIPE_WIDTH) -> Console:
    """Return the console: as wide as the terminal, or as fits a pipe's reader.

    :param of_errors: whether it is standard error, because standard output is for a program.
    :param in_pipe: how wide it is where there is no terminal.
    """
    stream = sys.stderr if of_errors else sys.stdout
    return Console(highlight=False, stderr=of_errors, width=None if stream.isatty() else in_pipe)


def show(report: Report, console: Console, page: str) -> None:
    """Print the headline, the worst rows, or the accounts and regions, and what people should know to read them.

    :param page: where the others are.
    """
    console.print(Text.assemble((report.headline, "bold"), (f"  {report.window}" if report.window else "", "dim")))
    console.print(Text(report.lead, "dim"))
    console.print()
    is_wide = console.width >= NARROW
    if report.places:
        shown = max(SHOWN_PLACES, len(report.failed))
        console.print(places(report, shown, reasons=is_wide and bool(report.failed)))
        more, which = len(report.places) - shown, "more, with fewer open groups"
    else:
        console.print(table(report))
        more, which = len(report.rows) - SHOWN_ROWS, "more"
    if more > 0:
        console.print(Text(f"… and {more:,} {which}: see {page}", "dim"))
    for place in () if is_wide else report.failed:
        where = " ".join(visible(part) for part in (place.name or place.account, place.region) if part)
        console.print(Text.assemble(("✗ ", "bold red"), f"{where}: {visible(place.failure or '')}"))
    console.print()
    for note in report.notes:
        console.print(Text.assemble(("! ", "bold yellow"), visible(note)))


def places(report: Report, most: int, *, reasons: bool) -> Table:
    """Make the table of accounts and regions: how many groups are in each state.

    :param most: how many accounts and regions it shows.
    :param reasons: whether it has a column of why the last run failed.
    """
    states = report.states
    made = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False, show_edge=False)
    for name in ("account", "region"):
        made.add_column(name, overflow="fold")
    made.add_column("open groups", justify="right")
    for state in states:
        made.add_column(state, justify="right", style=STATES[state])
    if reasons:
        made.add_column("why the run failed", overflow="fold", style="bold red")
    for place in report.places[:most]:
        numbers = (place.found, *(place.groups[state] for state in states))
        counts = (f"{number:,}" if place.time else "-" for number in numbers)
        names = (visible(place.name or place.account or "-"), visible(place.region or "-"))
        why = [visible(place.failure or "")] if reasons else []
        made.add_row(*map(Text, (*names, *counts, *why)))
    if len(report.places) > 1:
        made.add_section()
        found = sum(place.found for place in report.places)
        sums = (sum(place.groups[state] for place in report.places) for state in states)
        made.add_row("all", "", *(f"{number:,}" for number in (found, *sums)))
    return made


def failures(said: list[str], console: Console) -> None:
    """Print what failed."""
    for failure in said[:SHOWN_FAILURES]:
        console.print(Text.assemble(("✗ ", "bold red"), visible(failure)))
    if (more := len(said) - SHOWN_FAILURES) > 0:
        console.print(Text(f"✗ and {more} more", "bold red"))


def table(report: Report) -> Table:
    """Make the table of the worst rows."""
    columns = COLUMNS[: 6 if report.knows("clients") else 4 if report.knows("behind") else 3]
    gap = (0, int(len(columns) < len(COLUMNS)), 0, 0)
    made = Table(box=box.SIMPLE_HEAD, header_style="bold", padding=gap, pad_edge=False, show_edge=False)
    for name, _, least in columns:
        made.add_column(name, overflow="fold", min_width=least)
    for row in report.rows[:SHOWN_ROWS]:
        made.add_row(*(Text("\n").join(cell(row)) for _, cell, _ in columns))
    return made


def _group(row: Row) -> Iterator[Text]:
    yield Text(visible(row.name))
    yield Text(row.group, "dim")


def _rule(row: Row) -> Iterator[Text]:
    style = "" if row.is_open else "green"
    first, *more = row.after or [row.becomes]
    yield Text(row.lets_in, "bold")
    yield Text.assemble((row.before, "red"), (f" → {first}", style))
    yield from (Text(f"→ {each}", style) for each in more)


def _state(row: Row) -> Iterator[Text]:
    yield Text(row.state, STATES[row.state])
    if row.exemption:
        yield Text("until", "dim")
        yield Text(row.exemption.until, "dim")


def _used(row: Row) -> Iterator[Text]:
    if row.exposure:
        yield Text(row.exposure, EXPOSED.get(row.exposure, ""))
    yield from (Text(visible(each)) for each in row.behind or ())


def _clients(row: Row) -> Iterator[Text]:
    """Yield how many clients are blocked and what they sent, some of them, and who else came in."""
    if (seen := row.clients) is None:
        return
    if not seen.blocked:
        yield Text(seen.words, "yellow" if seen.note else "green")
    else:
        yield Text.assemble((seen.words, "bold red"), f" {decimal(seen.bytes)}")
    yield from (Text(visible(caller.source), "red") for caller in seen.callers[:SHOWN_CALLERS])
    if (more := seen.blocked - len(seen.callers[:SHOWN_CALLERS])) > 0:
        yield Text(f"… {more:,} more", "red")
    others = [f"{seen.stay:,} stay"] * bool(seen.stay) + [counted(seen.scanners, "scanner")] * bool(seen.scanners)
    if others:
        yield Text(", ".join(others), "dim")


def _suggested(row: Row) -> Iterator[Text]:
    if (seen := row.clients) is None or not seen.blocked:
        return
    yield from (Text(each, "green") for each in seen.suggested)
    if seen.more:
        yield Text(f"with {seen.more:,} others", "dim")
    if not seen.suggested:
        yield Text(f"none: {seen.note}", "dim")


COLUMNS = (
    ("security group", _group, 20),
    ("lets in, before → after", _rule, 25),
    ("state", _state, 10),
    ("used by", _used, 12),
    ("blocked clients", _clients, 18),
    ("suggested networks", _suggested, 21),
)
"""Each column, what is in it of a row, and the width that keeps ids and addresses whole."""
