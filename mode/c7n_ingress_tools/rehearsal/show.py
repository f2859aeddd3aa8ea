"""What a person sees of the loop: one table, the verdicts, the calls, a message and the files."""

from __future__ import annotations

import sys
from collections import Counter
from itertools import groupby, zip_longest
from typing import TYPE_CHECKING, Any

from rich import box
from rich.columns import Columns
from rich.console import Console, Group
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from c7n_ingress.decide.exemptions import TAG
from c7n_ingress.decide.severity import SEVERITIES
from c7n_ingress_tools.rehearsal.authorized import SAMPLE
from c7n_ingress_tools.rehearsal.loop import reads
from c7n_ingress_tools.rehearsal.printable import printable
from c7n_ingress_tools.report.rows import EXPOSURES
from c7n_ingress_tools.report.severity import severity, traffic_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from c7n_ingress_tools.rehearsal.authorized import Authorized
    from c7n_ingress_tools.rehearsal.clients import Findings
    from c7n_ingress_tools.rehearsal.groups import Group
    from c7n_ingress_tools.rehearsal.loop import Result

PIPE_WIDTH = 120
NOTHING = "-"
STYLES = {"COMPLIANT": "green", "NON_COMPLIANT": "red"}
EXPOSED = {"internet": "bold red", "unused": "dim"}
FILES = "policy, zip, logs, items.jsonl, records.jsonl, changes.txt, messages.txt"
SHOWN_ROWS = 40
SHOWN_NAMES = 8
SHOWN_FAILURES = 10


def console(*, of_errors: bool = False) -> Console:
    """Return the console: as wide as the terminal, or as fits a pipe's reader.

    :param of_errors: whether it is standard error, because standard output is for a program.
    """
    stream = sys.stderr if of_errors else sys.stdout
    return Console(highlight=False, stderr=of_errors, width=None if stream.isatty() else PIPE_WIDTH)


def authorized(networks: Authorized, console: Console, option: Callable[[str, str], str]) -> None:
    """Print which networks replace the internet and, if they are examples, how to name others."""
    if networks.are_examples:
        console.print(Text.assemble("Authorized networks: ", (networks.words, "yellow")))
        console.print(Text(f"  To use your own, add {option('authorized', SAMPLE)}", "dim"))
    else:
        console.print(Text(f"Authorized networks: {networks.words}"))


def show(result: Result, networks: Authorized, console: Console, findings: Findings | None = None) -> None:
    """Print the whole result and, if somebody looked, who came in; and write the whole tables into files."""
    with (result.folder / "changes.txt").open("w", encoding="utf-8") as file:
        Console(file=file, width=PIPE_WIDTH).print(table(result, len(result.records)))
    console.print()
    console.print(table(result, SHOWN_ROWS))
    console.print()
    if (more := len(result.records) - SHOWN_ROWS) > 0:
        console.print(Text(f"… and {more} more: see {result.folder / 'changes.txt'}\n", "dim"))
    if findings:
        from c7n_ingress_tools.rehearsal import show_clients  # noqa: PLC0415 - it needs DuckDB

        with (result.folder / "clients.txt").open("w", encoding="utf-8") as file:
            show_clients.show(findings, Console(file=file, width=PIPE_WIDTH), len(findings.rules))
        show_clients.show(findings, console, SHOWN_ROWS)
    console.print(summary(result, networks))
    if result.messages:
        console.print()
        console.print(message(result), crop=False)
    for failure in result.failures[:SHOWN_FAILURES]:
        console.print(Text.assemble(("✗ ", "bold red"), printable(failure)))
    if (more := len(result.failures) - SHOWN_FAILURES) > 0:
        console.print(Text(f"✗ and {more} more", "bold red"))


def table(result: Result, rows: int) -> Table:
    """Make the table of changes, of so many records at most: those of a group together, the worst first."""
    made = Table(box=box.SIMPLE_HEAD, header_style="bold", collapse_padding=True, pad_edge=False, show_edge=False)
    for name, style in (("security group", ""), ("rule", ""), ("before", "red"), ("after", "green"), ("how", "dim")):
        made.add_column(name, style=style, overflow="fold")
    if result.behind:
        made.add_column("what uses the group", overflow="fold")
    records = worst_first(result)[:rows]
    for (group_id, name), members in groupby(records, key=lambda record: (record["group"], record["group_name"])):
        group = (Text(printable(name)), Text(group_id, "dim"))
        for label, record, behind in zip_longest(group, members, _behind(result, group_id)):
            made.add_row(label, *cells(record) if record else [""] * 4, behind)
    return made


def worst_first(result: Result) -> list[dict[str, Any]]:
    """Sort the records: groups that can be reached before others, then those that let in what is worse, then by file.

    So a group's own records are sorted, too.
    """
    order = {group["GroupId"]: position for position, group in enumerate(result.groups)}
    worst: dict[str, tuple[int, int]] = {}
    for record in result.records:
        worst[record["group"]] = min(_urgency(record), worst.get(record["group"], (len(SEVERITIES), 0)))

    def key(record: dict[str, Any]) -> tuple[Any, ...]:
        group = record["group"]
        return _exposure(result, group), worst[group], order[group], _urgency(record)

    return sorted(result.records, key=key)


def _urgency(record: dict[str, Any]) -> tuple[int, int]:
    """Return how bad it is what a rule let in; less is worse."""
    judged = severity(record["protocol"], record["ports"])
    return SEVERITIES.index(judged.level), -judged.width


def _exposure(result: Result, group: str) -> int:
    return EXPOSURES.index(result.behind[group].exposure if group in result.behind else "unknown")


def _behind(result: Result, group: str) -> list[Text]:
    """Return how far a group can be reached, and what uses it."""
    if group not in result.behind:
        return []
    found = result.behind[group]
    return [Text(found.exposure, EXPOSED.get(found.exposure, "")), *(Text(printable(each)) for each in found.phrases)]


def cells(record: dict[str, Any]) -> tuple[str, str, str, str]:
    """Return what the table shows of a record."""
    return (
        traffic_text(record["protocol"], record["ports"]),
        record["was"] or NOTHING,
        record["now"] or NOTHING,
        record["how"],
    )


def summary(result: Result, networks: Authorized) -> Table:
    """Make the few lines below the table: groups that were left alone, verdicts, calls, files."""
    touched = {record["group"] for record in result.records}
    compliant = [group for group in result.groups if result.after.get(group["GroupId"]) == "COMPLIANT"]
    changes, read = of_ec2(result.calls)
    made = Table.grid(padding=(0, 2))
    made.add_column(style="bold", no_wrap=True)
    made.add_column()
    made.add_row("authorized", networks.words)
    made.add_row("left alone", Text(names([group for group in compliant if group["GroupId"] not in touched])))
    if result.foreign:
        made.add_row("not ours", Text(f"{names(result.foreign)}: AWS Config records them in their own accounts"))
    for each in result.left_out:
        made.add_row("not rehearsed", Text(each))
    if result.unseen and any(each.exposure == "unused" for each in result.behind.values()):
        made.add_row("unused", Text(result.unseen))
    made.add_row("AWS Config says", Text.assemble(verdicts(result.before), (" → ", "dim"), verdicts(result.after)))
    made.add_row("API calls to EC2", counts(changes))
    made.add_row("", counts(read))
    if result.undo:
        made.add_row("… for the undo", counts(of_ec2(result.undo)[0]))
    made.add_row("files", Text.assemble((f"{result.folder}/", "cyan"), (f"  {FILES}", "dim")))
    return made


def of_ec2(calls: Counter[tuple[str, str]]) -> tuple[Counter[str], Counter[str]]:
    """Return EC2's calls, by action: those that change something, and those that read."""
    changes: Counter[str] = Counter()
    read: Counter[str] = Counter()
    for (service, action), number in calls.items():
        if service == "ec2":
            (read if reads(action) else changes)[action] += number
    return changes, read


def names(groups: list[Group]) -> str:
    """Return the names of groups, each with its exemption tag: the tag is the reason why a group was left alone."""
    said = []
    for group in groups[:SHOWN_NAMES]:
        until = next((tag["Value"] for tag in group["Tags"] if tag["Key"] == TAG), None)
        said.append(printable(group["GroupName"]) + (f" ({TAG} {printable(until)})" if until else ""))
    more = [f"{len(groups) - SHOWN_NAMES} more"] if len(groups) > SHOWN_NAMES else []
    return ", ".join(said + more) or "none"


def verdicts(by_group: dict[str, str]) -> Text:
    """Return how often each verdict occurs."""
    times = Counter(by_group.values())
    said = [Text(f"{times[verdict]} {verdict}", STYLES.get(verdict, "")) for verdict in sorted(times, reverse=True)]
    return Text(", ").join(said)


def counts(calls: Counter[str]) -> Columns:
    """Return how often each action was called. A line break never separates a number from its action."""
    said = [f"{number} {action}" for action, number in sorted(calls.items())]
    return Columns(said or ["none"], padding=(0, 2))


def message(result: Result) -> Group:
    """Show one message as a subscriber gets it: the one about the most changes.

    An address or a command, which people copy, stays one line, however long.
    """
    most = Counter(record["group"] for record in result.records).most_common(1)
    about = most[0][0] if most else ""
    chosen = next((each for each in result.messages if about in each["Message"]), result.messages[0])
    title = Text.assemble((printable(chosen["Subject"]), "bold"))
    subtitle = Text(f"1 of {len(result.messages)}, as a subscriber of the SNS topic gets it", "dim")
    lines = [line(text) for text in printable(chosen["Message"].strip()).split("\n")]
    return Group(Rule(title, align="left", style="dim"), *lines, Rule(subtitle, align="left", style="dim"))


def line(text: str) -> Text:
    """Show a line of a message."""
    copied = "://" in text or " && " in text
    return Text(text, no_wrap=copied, overflow="ignore" if copied else "fold")
