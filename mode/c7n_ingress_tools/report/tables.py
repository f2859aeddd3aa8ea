"""The same rows for a spreadsheet and for a program. Pure."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import fields
from typing import Any

from c7n_ingress.decide.exemptions import Exemption
from c7n_ingress.decide.rules import ports_text
from c7n_ingress_tools.report.rows import Clients, Report, Row
from c7n_ingress_tools.report.text import visible

VERSION = 4
"""Of the JSON file: it changes when a key goes or means something else."""

COLUMNS = (
    "severity", "reason", "state", "account", "region", "vpc", "group", "name", "rule", "traffic", "before", "after",
    "others", "how", "description", "until", "exempt_because", "owner", "ticket", "failure", "exposure", "behind",
    "blocked", "bytes", "last", "callers", "stay", "scanners", "suggested", "tags",
)  # fmt: skip

FORMULA = "=+-@＝＋－＠"  # noqa: RUF001 - spreadsheets take the wide ones, too
BEFORE_FORMULA = re.compile(rf'(?:^|(?<=;))(?=[\s"]*[{re.escape(FORMULA)}])')
"""Where a formula would begin: in some languages, Excel separates cells by semicolons, also within quotes."""


def as_csv(report: Report) -> str:
    """Write the rows as CSV, for `utf-8-sig`: Excel reads UTF-8 if it begins with a mark.

    A line for each account and region that failed comes first.
    """
    failed = [
        {"state": "failed", "account": place.account or place.name, "region": place.region, "failure": place.failure}
        for place in report.failed
    ]
    rows = [
        each | {"callers": [caller["source"] for caller in each["callers"] or ()]} for each in map(flat, report.rows)
    ]
    return csv_of(COLUMNS, [*failed, *rows])


def csv_of(columns: Collection[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Write some columns of rows as CSV. What people typed is safe to show, and no formula."""
    file = io.StringIO()
    writer = csv.DictWriter(file, columns, extrasaction="ignore")
    writer.writeheader()
    writer.writerows({key: harmless(_text(value)) for key, value in row.items()} for row in rows)
    return file.getvalue()


def as_json(report: Report) -> str:
    """Write all of the report as JSON, in ASCII."""
    made = {"v": VERSION, "headline": report.headline} | vars(report)
    made["window"] = report.window and report.window._asdict()
    made["rows"] = list(map(flat, report.rows))
    made["places"] = [place._asdict() for place in report.places]
    return json.dumps(made, indent=1) + "\n"


def harmless(cell: str) -> str:
    """Keep a spreadsheet from taking a cell for a formula: https://owasp.org/www-community/attacks/CSV_Injection."""
    return BEFORE_FORMULA.sub("'", cell)


def flat(row: Row) -> dict[str, Any]:
    """Return a row with all that it holds at one level."""
    level, reason, _ = row.severity
    until, because, owner, ticket = row.exemption or Exemption("")
    seen = dict.fromkeys(field.name for field in fields(Clients))
    if row.clients:
        seen = vars(row.clients) | {"callers": [caller._asdict() for caller in row.clients.callers]}
    of = {"traffic": row.lets_in, "protocol": row.traffic.protocol, "ports": ports_text(row.traffic)}
    exempt = {"until": until or None, "exempt_because": because, "owner": owner, "ticket": ticket}
    rest = {key: value for key, value in vars(row).items() if key not in {"exemption", "clients", "traffic"}}
    return {"severity": level, "reason": reason} | rest | of | exempt | seen


def _text(value: Any) -> str:
    """Write what a cell has to hold in one line."""
    if value is None:
        return ""
    if isinstance(value, dict):
        return "; ".join(f"{visible(key)}={visible(each)}" for key, each in value.items())
    if isinstance(value, tuple | list):
        return "; ".join(map(_text, value))
    return visible(str(value))
