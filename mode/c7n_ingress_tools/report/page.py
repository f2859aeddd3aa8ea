"""The page, and the files beside it."""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from c7n_ingress.decide import states
from c7n_ingress.decide.behind import EXPOSED, EXPOSURES
from c7n_ingress.decide.severity import SEVERITIES
from c7n_ingress.decide.states import counted
from c7n_ingress_tools.report.rows import URGENCY, Report, Row
from c7n_ingress_tools.report.tables import as_csv, as_json
from c7n_ingress_tools.report.text import visible

HERE = Path(__file__).parent
MOODS = {state.name: state.mood for state in states.URGENCY}
MOST_BARS = 7


class Bar(NamedTuple):
    """How many rules of a kind were open, and how many still are."""

    label: str
    before: int
    after: int


def write(report: Report, folder: Path) -> Path:
    """Write report.html, report.csv and report.json into a folder, over what was there, and return the page's path.

    The folder is created if it is not there.

    :raises OSError: it cannot be written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    html = folder / "report.html"
    html.with_suffix(".csv").write_text(as_csv(report), encoding="utf-8-sig", newline="")
    html.with_suffix(".json").write_text(as_json(report), encoding="ascii")
    html.write_text(page(report), encoding="utf-8")
    return html


def page(report: Report) -> str:
    """Make the page, which needs nothing else."""
    style, script = ((HERE / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: visible(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.j2").render(
        report=report,
        files="report.csv and report.json",
        urgent=_urgent(report),
        accounts=_every(report, "account") or ["-"],
        regions=_every(report, "region") or ["-"],
        charts=charts(report.rows),
        choices=_choices(report),
        counted=counted,
        moods=MOODS,
        # Ours, and never anybody's: a page may hold them as they are.
        style=Markup(style),  # noqa: S704
        script=Markup(script),  # noqa: S704
        style_hash=_hash(style),
        script_hash=_hash(script),
    )


def _hash(text: str) -> str:
    """Return the hash by which a Content-Security-Policy names the content of an element: https://www.w3.org/TR/CSP3/#grammardef-hash-source."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _urgent(report: Report) -> list[tuple[str, str]]:
    """Return how many groups need an action now, by state, and what to do."""
    urgent = []
    for state in states.CLOSING[:2]:
        rows = [row for row in report.rows if row.state == state.name]
        groups = len({(row.account, row.region, row.group) for row in rows})
        reason = " The reason is beside each rule." if any(row.failure for row in rows) else ""
        urgent += [(f"{counted(groups, 'group')} {state.counted}", state.todo + reason)] if groups else []
    return urgent


def charts(rows: Sequence[Row]) -> list[tuple[str, list[Bar]]]:
    """Count the open rules by kind. Where all rules are of one kind there is nothing to see."""
    drawn = [
        ("By severity", bars(rows, lambda row: row.severity.level, SEVERITIES)),
        ("By who can reach them", bars(rows, lambda row: EXPOSED[row.exposure or "unknown"], EXPOSED.values())),
        ("By what they let in", bars(rows, lambda row: row.lets_in)),
        ("By account", bars(rows, lambda row: row.account)),
    ]
    return [(title, each) for title, each in drawn if len(each) > 1]


def bars(rows: Sequence[Row], kind: Callable[[Row], str], order: Iterable[str] = ()) -> list[Bar]:
    """Count open rules by kind, the most first or in the order given; what does not fit is counted together."""
    before = Counter(map(kind, rows))
    after = Counter(kind(row) for row in rows if row.is_open)
    kinds = [each for each in order if each in before] or [each for each, _ in before.most_common()]
    made = [Bar(each, before[each], after[each]) for each in kinds]
    if len(made) <= MOST_BARS:
        return made
    shown, rest = made[: MOST_BARS - 1], made[MOST_BARS - 1 :]
    return [*shown, Bar(counted(len(rest), "other"), sum(bar.before for bar in rest), sum(bar.after for bar in rest))]


def _every(report: Report, name: str) -> list[str]:
    """Return every account, or every region, of the report."""
    return sorted({each for part in (*report.rows, *report.places) if (each := getattr(part, name))})


def _choices(report: Report) -> dict[str, list[tuple[str, str]]]:
    """Return the choices of each filter: the values that occur, and their words."""

    def occurring(order: Iterable[str], of: Callable[[Row], str]) -> list[str]:
        occur = set(map(of, report.rows))
        return [each for each in order if each in occur]

    chosen = {
        "severity": occurring(SEVERITIES, lambda row: row.severity.level),
        "state": occurring(URGENCY, lambda row: row.state),
        "exposure": occurring(EXPOSURES, lambda row: row.exposure or "unknown") if report.knows("exposure") else [],
        "clients": ["blocked"] if report.knows("clients") else [],
        "account": _every(report, "account"),
        "region": _every(report, "region"),
    }
    words = EXPOSED | {place.account: f"{place.name} {place.account}".strip() for place in report.places}
    return {name: [(each, words.get(each, each)) for each in values] for name, values in chosen.items()}
