"""The table at the end of a local run: each rule before and after, and the state of its group. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from c7n_ingress.decide.message import Deed, Outcome
from c7n_ingress.decide.ports import traffic_words
from c7n_ingress.decide.records import Record
from c7n_ingress.decide.rules import ports_text, traffic

HEAD = ("group", "rule", "before -> after", "state")
NONE = "-"


def table(outcomes: Iterable[Outcome], deed: Deed, *, preview: bool) -> list[str]:
    """Return the lines of the table, in ASCII: the most urgent groups first.

    What people typed is in quotes and escaped, so that no line looks like a record.
    """
    states = [(outcome.state(deed, preview=preview), outcome) for outcome in outcomes if outcome.is_reported]
    rows = [
        (f"{outcome.group['GroupId']} {json.dumps(outcome.group.get('GroupName') or '')}", *cells, state.counted)
        for state, outcome in sorted(states, key=lambda each: each[0].rank)
        for cells in _rules(outcome.records)
    ]
    widths = [max(map(len, column)) for column in zip(HEAD, *rows, strict=True)]
    lines = (zip(row, widths, strict=True) for row in (HEAD, *rows))
    return ["  ".join(cell.ljust(width) for cell, width in line).rstrip() for line in lines] if rows else []


def _rules(records: Iterable[Record]) -> Iterator[tuple[str, str]]:
    """Yield what each rule lets in and its sources before and after, with those of the rules that were added for it."""
    changes: dict[str, list[Record]] = {}
    for record in records:
        changes.setdefault(record.get("beside") or record["rule"], []).append(record)
    for made in changes.values():
        in_order = sorted(made, key=lambda record: record["was"] is None)
        was, now = ([record[key] for record in in_order if record[key]] for key in ("was", "now"))
        of = traffic(made[0]["traffic"])
        yield traffic_words(of.protocol, ports_text(of)), f"{', '.join(was) or NONE} -> {', '.join(now) or NONE}"
    if not changes:
        yield NONE, NONE
