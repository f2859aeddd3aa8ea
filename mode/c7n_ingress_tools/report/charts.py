"""The charts, as SVG inside the page: without script, without a style of its own, with nothing to fetch. Pure.

By pygal: pure Python, 1 MB with all that it needs. Vega's converter brings 84 MB and a JavaScript engine, matplotlib
137 MB, and its SVG has styles on its elements, which the page's Content-Security-Policy would have to allow.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple
from xml.etree.ElementTree import Element

import pygal
from markupsafe import Markup
from pygal.style import Style

from c7n_ingress.decide.severity import SEVERITIES
from c7n_ingress_tools.report.rows import EXPOSURES, Row

MOST_BARS = 12
WIDTH = 520
BAR = 32
EDGE = 10
STYLE = Style(label_font_size=13, major_label_font_size=13, value_font_size=13, font_family="sans-serif")
BEHIND = {
    "internet": "reachable from the internet",
    "private": "inside the network only",
    "unused": "nothing uses it",
    "unknown": "not known",
}


class Bar(NamedTuple):
    """How many rules of a kind were open, and how many still are."""

    label: str
    before: int
    after: int


class Chart(NamedTuple):
    """A picture, and the same in words."""

    title: str
    words: str
    svg: Markup


def charts(rows: Sequence[Row]) -> list[Chart]:
    """Make the charts that say something: of rules that all are of one kind there is nothing to see."""
    chosen = [
        ("Open rules by what they let in", bars(rows, lambda row: row.traffic)),
        ("Open rules by severity", bars(rows, lambda row: row.severity.level, SEVERITIES)),
        ("Open rules by who can reach them", bars(rows, _exposure, [BEHIND[each] for each in EXPOSURES])),
        ("Open rules by account", bars(rows, lambda row: row.account)),
    ]
    return [chart(title, counted) for title, counted in chosen if len(counted) > 1]


def bars(rows: Sequence[Row], kind: Callable[[Row], str], order: Sequence[str] = ()) -> list[Bar]:
    """Count open rules by kind, the most first or in the order given; kinds beyond the twelfth are counted together."""
    before = Counter(kind(row) for row in rows)
    after = Counter(kind(row) for row in rows if row.is_open)
    kinds = [each for each in order if each in before] or [each for each, _ in before.most_common()]
    counted = [Bar(each, before[each], after[each]) for each in kinds]
    if len(counted) <= MOST_BARS:
        return counted
    rest = counted[MOST_BARS - 1 :]
    other = Bar(f"{len(rest)} others", sum(bar.before for bar in rest), sum(bar.after for bar in rest))
    return [*counted[: MOST_BARS - 1], other]


def chart(title: str, counted: Sequence[Bar]) -> Chart:
    """Draw bars, the first on top: what was open before, and what still is."""
    drawn = pygal.HorizontalBar(
        width=WIDTH,
        height=EDGE + BAR * len(counted),
        style=STYLE,
        js=[],
        classes=["chart"],
        disable_xml_declaration=True,
        show_legend=False,
        show_x_labels=False,
        print_values=True,
        print_values_position="top",
        margin=4,
        margin_left=16,  # a browser's letters are wider than pygal thinks
        spacing=0,
        truncate_label=-1,
        max_scale=5,
        min_scale=1,
        range=(0, 1.15 * max(bar.before for bar in counted)),  # room for the number at the end
        value_formatter=lambda value: f"{value:.0f}",
    )
    # pygal draws upwards.
    drawn.x_labels = [bar.label for bar in reversed(counted)]
    drawn.add("before", [bar.before for bar in reversed(counted)])
    drawn.add("after", [bar.after for bar in reversed(counted)])
    drawn.add_xml_filter(_bare)
    words = "; ".join(f"{bar.label}: {bar.before} before, {bar.after} after" for bar in counted)
    return Chart(title, words, Markup(drawn.render(is_unicode=True)))  # noqa: S704 - an element tree wrote it, escaped


def _bare(root: Element) -> Element:
    """Leave shapes and labels alone: no style or script (the page has its own), no ids, no tips that need a script."""
    root.attrib.pop("id", None)
    for parent in list(root.iter()):
        for child in list(parent):
            if not isinstance(child.tag, str) or _is_idle(child):
                parent.remove(child)
        parent.attrib.pop("style", None)
        parent.attrib.pop("id", None)
    return root


def _is_idle(element: Element) -> bool:
    """Whether an element is of no use without pygal's script and style sheet."""
    return element.tag in {"defs", "desc", "title", "style", "script"} or bool(
        {"tooltip-overlay", "titles"} & _classes(element)
    )


def _classes(element: Element) -> set[str]:
    return set(element.get("class", "").split())


def _exposure(row: Row) -> str:
    return BEHIND[row.exposure or "unknown"]
