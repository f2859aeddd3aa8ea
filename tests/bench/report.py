"""The report of 5,000 groups: how long it takes to write, and how long somebody waits for the page."""

from __future__ import annotations

import datetime as dt
import tempfile
import time
from pathlib import Path
from statistics import median

from c7n_ingress_tools.embedded_aws.server import Cloud
from c7n_ingress_tools.report.page import write
from c7n_ingress_tools.report.rows import Caller, Clients
from c7n_ingress_tools.report.sources import of_rehearsal
from tests.bench.groups import group
from tests.bench.table import Row
from tests.support.browser import browser
from tests.support.embedded import ACCOUNT

GROUPS = 5_000
PAINTED = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done))))"
CHANGE = f"""async ([field, value, event]) => {{
    const element = document.querySelector(field);
    const start = performance.now();
    element.value = value;
    element.dispatchEvent(new Event(event));
    await {PAINTED};
    return performance.now() - start;
}}"""
FILTERS = [
    ("[data-search]", "team-7", "input"),
    ("[data-search]", "", "input"),
    ("[data-search]", "tcp 2001", "input"),
    ("[data-search]", "", "input"),
]
SORTS = [("[data-sort-by]", key, "change") for key in ("name", "port", "state", "urgency")]
SCROLL = """async () => {
    const frames = [];
    for (let before = performance.now(), frame = 0; frame < 120; frame += 1) {
        scrollBy(0, 400);
        await new Promise(requestAnimationFrame);
        frames.push(performance.now() - before);
        before = performance.now();
    }
    return frames;
}"""


def measure(_cloud: Cloud) -> list[Row]:
    """Measure, with everything known of each group."""
    groups = [group(number, 2) for number in range(1, GROUPS + 1)]
    callers = tuple(Caller(f"198.51.100.{number}", 1000, "2026-05-01") for number in range(3))
    clients = {
        "TCP 2000 from 0.0.0.0/0": Clients(3, 3000, "2026-05-01", callers),
        "TCP 2001 from 0.0.0.0/0": Clients(0),
    }
    used = {"exposure": "internet", "behind": ("load balancer shop",)}
    with tempfile.TemporaryDirectory() as folder, browser() as started:
        start = time.process_time()
        now = dt.datetime.now(dt.timezone.utc)
        report = of_rehearsal(
            groups,
            map(removed, groups),
            [],
            account=ACCOUNT,
            region="us-east-1",
            now=now,
            known=lambda row: {**used, "clients": clients.get(f"{row.lets_in} from {row.before}")},
        )
        page_path = write(report, Path(folder))
        written = time.process_time() - start
        page = started.new_page(viewport={"width": 1280, "height": 900})
        start = time.perf_counter()
        page.goto(page_path.as_uri())
        page.evaluate(PAINTED)
        opened = time.perf_counter() - start
        filters, sorts = ([page.evaluate(CHANGE, each) / 1000 for each in asked] for asked in (FILTERS, SORTS))
        frames = [each / 1000 for each in page.evaluate(SCROLL)]
    return [
        _seconds(f"report of {GROUPS:,} groups, {len(report.rows):,} rules: written, of a processor", 5, [written]),
        _seconds("opened in the browser, to the last row", 3, [opened]),
        _seconds("filtered", 0.2, filters),
        _seconds("sorted", 0.4, sorts),
        _seconds("scrolled, a frame", 0.05, frames),
    ]


def removed(group: dict) -> dict:
    """Return the record of a group's first open rule, which was removed: the report lists what else is let in there."""
    return {
        "account": ACCOUNT,
        "region": "us-east-1",
        "vpc": group["VpcId"],
        "group": group["GroupId"],
        "group_name": group["GroupName"],
        "rule": "sgr-1",
        "traffic": group["IpPermissions"][0],
        "description": "",
        "was": "0.0.0.0/0",
        "now": None,
        "how": "revoked",
    }


def _seconds(what: str, target: float, times: list[float]) -> Row:
    seen = f"median of {len(times)}, at worst {max(times) * 1000:.0f} ms" if len(times) > 1 else ""
    return Row(what, "seconds", target, median(times), seen)
