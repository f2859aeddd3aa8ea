"""What a person sees of the traffic: each rule that was replaced, and which clients used it, the worst first."""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING

from rich import box
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from c7n_ingress_tools.rehearsal.clients import MOST_SUGGESTED
from c7n_ingress_tools.rehearsal.printable import printable
from c7n_ingress_tools.report.severity import traffic_text

if TYPE_CHECKING:
    import datetime as dt

    from rich.console import Console

    from c7n_ingress_tools.rehearsal.clients import Evidence, Findings

SHOWN_CLIENTS = 3
LEGEND = (
    "blocked: they connected, and no rule would let them in. stay: they connected, and still could. suggest: networks "
    "that would let the blocked clients in. Scanners are not clients; rehearsal/clients.py says who is one."
)


def show(findings: Findings, console: Console, rows: int) -> None:
    """Print what flow logs show, of so many rules at most."""
    console.print(headline(findings))
    console.print()
    console.print(table(findings, rows))
    if (more := len(findings.rules) - rows) > 0:
        console.print(Text(f"… and {more} more rules", "dim"))
    console.print(Text(LEGEND, "dim"))
    for note in findings.notes:
        console.print(Text.assemble(("! ", "bold yellow"), printable(note)))
    console.print()


def headline(findings: Findings) -> Text:
    """Return how many rules would block clients, and which time the flow logs are about."""
    worse = sum(each.cut > 0 for each in findings.rules)
    unlogged = any(each.logged < each.interfaces for each in findings.rules)
    nobody = "no client would be blocked" + (", as far as there are flow logs" if unlogged else "")
    said = f"{worse} of {len(findings.rules)} rules would block clients" if worse else nobody
    span = f", {_time(findings.first)} to {_time(findings.last)} UTC" if findings.first and findings.last else ""
    records = f"  {findings.records:,} flow log records{span}"
    return Text.assemble((said, "bold red" if worse else "bold green"), (records, "dim"))


def table(findings: Findings, rows: int) -> Table:
    """Make the table of rules, of so many at most."""
    made = Table(box=box.SIMPLE_HEAD, header_style="bold", padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    made.add_column("rule, before → after", overflow="fold", min_width=36)
    made.add_column("blocked", overflow="fold")
    made.add_column("sent", justify="right", no_wrap=True)
    made.add_column("last, UTC", no_wrap=True)
    made.add_column("suggest", style="green", overflow="fold")
    made.add_column("stay", justify="right", no_wrap=True)
    made.add_column("scanners", justify="right", style="dim", no_wrap=True)
    for each in findings.rules[:rows]:
        counts = (str(each.stay), str(each.scanners)) if each.logged else ()
        columns = zip_longest(_rule(each), _cut(each), _suggestion(each))
        for number, (rule, cut, network) in enumerate(columns):
            made.add_row(rule, *(cut or ("", "", "")), network, *(counts if number == 0 else ()))
    return made


def _rule(evidence: Evidence) -> list[Text]:
    rule = evidence.rule
    name = Text.assemble(printable(rule.group_name), "  ", (traffic_text(rule.protocol, rule.ports), "bold"))
    if not evidence.cut:
        return [Text.assemble(name, "  ", (rule.was, "dim"))]
    return [name, Text(f"{rule.was} → {', '.join(rule.now) or 'closed'}", "dim")]


def _cut(evidence: Evidence) -> list[tuple[Text, str, str]]:
    """Return how many clients are blocked, what they sent and when last; then the same of some of them."""
    if not evidence.cut:
        return [(_nobody(evidence), "", "")]
    shown = evidence.clients[:SHOWN_CLIENTS]
    rows = [(Text(str(each.source), "red"), decimal(each.bytes), _short(each.last)) for each in shown]
    if evidence.cut > 1:
        count = Text(f"{evidence.cut:,} clients", "bold red")
        rows.insert(0, (count, decimal(evidence.bytes), _short(evidence.last)))
    if (more := evidence.cut - len(shown)) > 0:
        rows.append((Text(f"… {more:,} more", "red"), "", ""))
    return rows


def _nobody(evidence: Evidence) -> Text:
    """Return why no client is blocked: it makes a difference whether there are flow logs."""
    if not evidence.interfaces:
        return Text("no interface", "dim")
    if not evidence.logged:
        return Text("not logged", "yellow")
    if evidence.logged < evidence.interfaces:
        return Text(f"nobody at {evidence.logged} of {evidence.interfaces} interfaces", "yellow")
    return Text("nobody", "green")


def _suggestion(evidence: Evidence) -> list[str | Text]:
    if not evidence.cut:
        return []
    if evidence.cut > MOST_SUGGESTED:
        return [Text("none: too many", "dim")]
    if not evidence.suggestion:
        return [Text("none: too scattered", "dim")]
    networks: list[str | Text] = [str(each) for each in evidence.suggestion.networks]
    if more := evidence.suggestion.more:
        networks.append(Text(f"with {more:,} others", "dim"))
    return networks


def _short(moment: dt.datetime) -> str:
    return moment.strftime("%d %b %H:%M")


def _time(moment: dt.datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M")
