"""Write the report's three files."""

from __future__ import annotations

from pathlib import Path

from c7n_ingress_tools.report.page import page
from c7n_ingress_tools.report.rows import Report
from c7n_ingress_tools.report.tables import as_csv, as_json

NAME = "report"


def write(report: Report, folder: Path) -> Path:
    """Write report.html, report.csv and report.json into a folder, over what was there, and return the page's path.

    The folder is created if it is not there.

    :raises OSError: it cannot be written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    csv, js, html = (folder / f"{NAME}.{kind}" for kind in ("csv", "json", "html"))
    csv.write_text(as_csv(report), encoding="utf-8-sig", newline="")
    js.write_text(as_json(report), encoding="ascii")
    html.write_text(page(report, f"{csv.name} and {js.name}"), encoding="utf-8")
    return html
