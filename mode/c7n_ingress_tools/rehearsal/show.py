"""What a person sees of the loop besides the report: the networks, the verdicts, the calls, a message and the files."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from rich.columns import Columns
from rich.console import Console, Group
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from c7n_ingress_tools.rehearsal.authorized import SAMPLE
from c7n_ingress_tools.rehearsal.loop import reads
from c7n_ingress_tools.report.text import first, visible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from c7n_ingress_tools.rehearsal.authorized import Authorized
    from c7n_ingress_tools.rehearsal.groups import Group as SecurityGroup
    from c7n_ingress_tools.rehearsal.loop import Calls, Result

STYLES = {"COMPLIANT": "green", "NON_COMPLIANT": "red"}
FILES = "report, policy, zip, logs, items.jsonl, records.jsonl, messages.txt"


def authorized(networks: Authorized, console: Console, option: Callable[[str, str], str]) -> None:
    """Print which networks replace the internet and, if they are examples, how to name others."""
    if networks.are_examples:
        console.print(Text.assemble("Authorized networks: ", (networks.words, "yellow")))
        console.print(Text(f"  To use your own, add {option('authorized', SAMPLE)}", "dim"))
    else:
        console.print(Text(f"Authorized networks: {networks.words}"))


def summary(result: Result) -> Table:
    """Make the few lines below the rows: groups that were left alone, verdicts, calls, files."""
    touched = {record["group"] for record in result.records}
    alone = [group for group in result.groups if group["GroupId"] not in touched]
    compliant = [group for group in alone if result.after.get(group["GroupId"]) == "COMPLIANT"]
    made = Table.grid(padding=(0, 2))
    made.add_column(style="bold", no_wrap=True)
    made.add_column()
    made.add_row("left alone", Text(names(compliant) or "none"))
    if result.foreign:
        made.add_row("not ours", Text(f"{names(result.foreign)}: AWS Config records them in their own accounts"))
    made.add_row("AWS Config says", Text.assemble(verdicts(result.before), (" → ", "dim"), verdicts(result.after)))
    made.add_row("API calls to EC2", of_ec2(result.calls, reading=False))
    made.add_row("", of_ec2(result.calls, reading=True))
    if result.undo:
        made.add_row("… for the undo", of_ec2(result.undo, reading=False))
    made.add_row("files", Text.assemble((f"{result.folder}/", "cyan"), (f"  {FILES}", "dim")))
    return made


def names(groups: Iterable[SecurityGroup]) -> str:
    """Return the names of the first groups, and how many more there are."""
    return first((visible(group["GroupName"]) for group in groups), 8)


def of_ec2(calls: Calls, *, reading: bool) -> Columns:
    """Return how often each action of EC2 was called that reads, or that changes something.

    A line break never separates a number from its action.
    """
    of_kind = sorted((action, number) for (service, action), number in calls.items() if service == "ec2")
    said = [f"{number} {action}" for action, number in of_kind if reads(action) == reading]
    return Columns(said or ["none"], padding=(0, 2))


def verdicts(by_group: dict[str, str]) -> Text:
    """Return how often each verdict occurs."""
    times = Counter(by_group.values())
    said = [Text(f"{times[verdict]} {verdict}", STYLES.get(verdict, "")) for verdict in sorted(times, reverse=True)]
    return Text(", ").join(said)


def message(result: Result) -> Group:
    """Show one message as a subscriber gets it: the one about the most changes.

    An address or a command, which people copy, stays one line, however long.
    """
    most = Counter(record["group"] for record in result.records).most_common(1)
    about = most[0][0] if most else ""
    chosen = next((each for each in result.messages if about in each["Message"]), result.messages[0])
    title = Text.assemble((visible(chosen["Subject"]), "bold"))
    subtitle = Text(f"1 of {len(result.messages)}, as a subscriber of the SNS topic gets it", "dim")
    lines = []
    for text in map(visible, chosen["Message"].strip().split("\n")):
        copied = "://" in text or " && " in text
        lines.append(Text(text, no_wrap=copied, overflow="ignore" if copied else "fold"))
    return Group(Rule(title, align="left", style="dim"), *lines, Rule(subtitle, align="left", style="dim"))
