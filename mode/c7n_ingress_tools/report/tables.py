"""The same rows for a spreadsheet and for a program. Pure."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict
from typing import Any

from c7n_ingress_tools.report.rows import Report, Row
from c7n_ingress_tools.report.text import visible

VERSION = 2
"""Of the JSON file: it changes when a key goes or means something else."""

COLUMNS = (
    "severity", "reason", "state", "account", "region", "vpc", "group", "name", "rule", "traffic", "before", "after",
    "others", "how", "description", "until", "failure", "exposure", "behind", "cut_off", "tags",
)  # fmt: skip

FORMULA = "=+-@＝＋－＠"  # noqa: RUF001 - spreadsheets take the wide ones, too


def as_csv(report: Report) -> str:
    """Write the rows as CSV, for `utf-8-sig`: Excel reads UTF-8 if it begins with a mark."""
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(COLUMNS)
    for row in map(_flat, report.rows):
        row["cut_off"] = row["cut_off"] and [caller["source"] for caller in row["cut_off"]["callers"]]
        writer.writerow([harmless(_text(row[column])) for column in COLUMNS])
    return file.getvalue()


def as_json(report: Report) -> str:
    """Write all of the report as JSON, in ASCII."""
    rows = [_flat(row) for row in report.rows]
    head = {
        "v": VERSION,
        "title": report.title,
        "time": report.time,
        "policies": report.policies,
        "looked_at": report.looked_at,
        "failures": report.failures,
        "unlisted": report.unlisted,
        "runs": report.runs,
    }
    return json.dumps(head | {"rows": rows}, indent=1) + "\n"


def harmless(cell: str) -> str:
    """Keep a spreadsheet from taking a cell for a formula: https://owasp.org/www-community/attacks/CSV_Injection."""
    return f"'{cell}" if cell.lstrip()[:1] in tuple(FORMULA) else cell


def _flat(row: Row) -> dict[str, Any]:
    level, reason, _ = row.severity
    cut_off = row.cut_off and asdict(row.cut_off)
    return {"severity": level, "reason": reason, "traffic": row.traffic} | vars(row) | {"cut_off": cut_off}


def _text(value: Any) -> str:
    """Write what a cell has to hold in one line."""
    if value is None:
        return ""
    if isinstance(value, dict):
        return "; ".join(f"{visible(key)}={visible(each)}" for key, each in value.items())
    if isinstance(value, tuple | list):
        return "; ".join(map(_text, value))
    return visible(value)
