"""The page. Pure."""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from c7n_ingress.decide import states
from c7n_ingress.decide.severity import SEVERITIES
from c7n_ingress_tools.report.charts import BEHIND, charts
from c7n_ingress_tools.report.rows import EXPOSURES, URGENCY, Report
from c7n_ingress_tools.report.text import visible

HERE = Path(__file__).parent
COUNTED = {state.name: state.counted for state in states.URGENCY}
MOODS = {state.name: state.mood for state in states.URGENCY}
MOST_RUNS = 50
"""How many runs the page lists; the JSON file has all."""
MOST_CALLERS = 5
"""How many of the blocked clients a row names; the JSON file has all that are known."""
ROWS_A_PART = 50
"""How many rows a browser lays out together; page.js knows the number, too."""


def page(report: Report, files: str) -> str:
    """Make the page, which needs nothing else.

    :param files: the names of the files beside it.
    """
    style, script = ((HERE / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    groups = {(row.account, row.region, row.group) for row in report.rows}
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            report=report,
            files=files,
            lead=_lead(report),
            tiles=_tiles(report),
            groups=len(groups),
            urgent=_urgent(report),
            accounts=sorted({row.account for row in report.rows}) or ["-"],
            regions=sorted({row.region for row in report.rows}) or ["-"],
            charts=charts(report.rows),
            choices=_choices(report),
            moods=MOODS,
            most_runs=MOST_RUNS,
            behind=bool(report.columns & {"behind", "exposure"}),
            cut_off="cut_off" in report.columns,
            most_callers=MOST_CALLERS,
            rows_a_part=ROWS_A_PART,
            # Ours, and never anybody's: a page may hold them as they are.
            style=Markup(style),  # noqa: S704
            script=Markup(script),  # noqa: S704
            style_hash=_hash(style),
            script_hash=_hash(script),
        )
    )


def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: visible(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _hash(text: str) -> str:
    """Return the hash by which a Content-Security-Policy names the content of an element: https://www.w3.org/TR/CSP3/#grammardef-hash-source."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _lead(report: Report) -> str:
    """Return what became of the open rules, in one sentence."""
    if not report.rows:
        return "Not everything could be looked at." if report.failures else "No open rule was found."
    groups = len({(row.account, row.region, row.group) for row in report.rows})
    by_state = Counter(row.state for row in report.rows)
    outcome = ", ".join(f"{by_state[state]:,} {COUNTED[state]}" for state in URGENCY if by_state[state])
    verb = "lets" if len(report.rows) == 1 else "let"
    rules = f"{_count(len(report.rows), 'rule')} in {_count(groups, 'group')}"
    return f"{rules} {verb} the internet in before: {outcome}."


def _urgent(report: Report) -> list[tuple[int, str, str]]:
    """Return of each state that needs an action now how many groups are in it, its name, and what to do."""
    urgent = []
    for state in states.CLOSING[:2]:
        of_state = [row for row in report.rows if row.state == state.name]
        groups = {(row.account, row.region, row.group) for row in of_state}
        reason = " The reason is beside each rule." if any(row.failure for row in of_state) else ""
        urgent += [(len(groups), state.counted, state.todo + reason)] if groups else []
    return urgent


def _tiles(report: Report) -> list[tuple[int, str, str]]:
    """Return the numbers that matter, what they count, and their mood."""
    rows = report.rows
    by_state = Counter(row.state for row in rows)
    severe = sum(row.severity.level == SEVERITIES[0] for row in rows)
    tiles = [(len(rows), "open rules found" if len(rows) != 1 else "open rule found", "plain")]
    tiles += [(severe, "of them critical", "bad")] if severe else []
    tiles += [(by_state[state], COUNTED[state], MOODS[state]) for state in URGENCY if by_state[state]]
    if "exposure" in report.columns:
        tiles.append((sum(row.exposure == "internet" for row in rows), "reachable from the internet", "look"))
    if "cut_off" in report.columns:
        blocking = sum(row.cut_off is not None and row.cut_off.count > 0 for row in rows)
        tiles.append((blocking, "that block clients", "look"))
    return tiles


def _choices(report: Report) -> dict[str, list[tuple[str, str]]]:
    """Return the choices of each filter: values that occur, and their words."""
    rows = report.rows
    occur: dict[str, set[Any]] = {
        "severity": {row.severity.level for row in rows},
        "state": {row.state for row in rows},
        "exposure": {row.exposure or "unknown" for row in rows},
    }
    return {
        "severity": [(each, each) for each in SEVERITIES if each in occur["severity"]],
        "state": [(each, each) for each in URGENCY if each in occur["state"]],
        "exposure": [(each, BEHIND[each]) for each in EXPOSURES if each in occur["exposure"]],
        "account": [(each, each) for each in sorted({row.account for row in rows})],
        "region": [(each, each) for each in sorted({row.region for row in rows})],
    }


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
