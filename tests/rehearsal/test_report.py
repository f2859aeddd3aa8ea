import csv
import datetime as dt
import io
import json
import os
import re
import subprocess
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from c7n.utils import yaml_load
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from pypdf import PdfReader

from c7n_ingress_tools.cli import main
from c7n_ingress_tools.rehearsal import groups as sample_groups
from c7n_ingress_tools.report import tables
from c7n_ingress_tools.report.rows import Caller, CutOff, Facts, Open, Report, Row, rows, worst_first
from c7n_ingress_tools.report.severity import port_range, severity
from c7n_ingress_tools.report.sources import NoRunError, facts_from, of_rehearsal
from c7n_ingress_tools.report.text import visible
from c7n_ingress_tools.report.write import write
from tests.support.browser import browser
from tests.support.embedded import ACCOUNT, ROOT, edited, group_of, load, make_queue, run
from tests.support.forked import C7N_INGRESS
from tests.support.search import examples

CASES = yaml_load((ROOT / "tests" / "cases" / "report.yml").read_text(encoding="utf-8"))
NOW = dt.datetime(2026, 5, 4, 10, 2, tzinfo=dt.timezone.utc)
CALLERS = tuple(Caller(f"198.51.100.{n}", 10**n, "2026-05-01 10:02") for n in range(7))
CUT_OFF = {"tcp 22 from 0.0.0.0/0": CutOff(9, 1_234_567, CALLERS), "tcp 22 from ::/0": CutOff(0, 0, ())}
FACTS = Facts("internet", ("load balancer shop",), CUT_OFF)


def named(kind):
    """Give the cases of a kind, named."""
    return [pytest.param(case, id=case["name"]) for case in CASES[kind]]


# -- rows


@pytest.mark.parametrize(("protocol", "ports", "level", "reason", "width"), CASES["severity"])
def test_severity(protocol, ports, level, reason, width):
    """What a rule lets in tells how bad it is, why, and how wide."""
    assert severity(protocol, ports) == (level, reason, width)


@pytest.mark.parametrize("ports", CASES["no-ports"])
def test_no_ports(ports):
    """Ports that no record has are refused with the value."""
    with pytest.raises(ValueError, match=r"are no ports: 22, 8000-8010 or all"):
        port_range(ports)


def record(*short):
    """Give a record as the action writes it, of group, protocol, ports, was, now and how."""
    group, protocol, ports, was, now, how = short
    return {
        "account": ACCOUNT,
        "region": "us-east-1",
        "vpc": "vpc-1",
        "group": f"sg-{group}",
        "group_name": f"group {group}",
        "rule": "sgr-1",
        "protocol": protocol,
        "ports": ports,
        "was": was,
        "now": now,
        "description": None,
        "how": how,
        "policy": "p",
        "time": "2026-05-04T10:02:00Z",
    }


@pytest.mark.parametrize("case", named("rows"))
def test_rows(case):
    """Records, what was open and what failed become rows, worst first."""
    found = [Open(f"sg-{group}", *rest) for group, *rest in case.get("found", ())]
    groups = [
        {
            "GroupId": f"sg-{number}",
            "GroupName": f"group {number}",
            "OwnerId": case.get("owners", {}).get(number, ACCOUNT),
            "Tags": [{"Key": "open-ingress-until", "Value": day} for day in [case.get("tags", {}).get(number)] if day],
        }
        for number in range(1, 8)
    ]
    made = rows(
        groups,
        [record(*each) for each in case.get("records", ())],
        found,
        account=ACCOUNT,
        region="us-east-1",
        failures={f"sg-{group}": [why] for group, why in case.get("failures", {}).items()},
        today="2026-05-04",
    )
    told = [[int(row.group[3:]), row.traffic, row.before, list(row.after), row.state] for row in worst_first(made)]
    for each, row in zip(told, worst_first(made), strict=True):
        each.extend([row.failure] if row.failure else [])
    assert told == case["rows"]


@pytest.mark.parametrize("case", named("open"))
def test_open_is_what_the_filter_matches(case):
    """In a group that the rehearsal's function left alone, the rules are open that the policy's filter matches."""
    tags = [{"Key": "open-ingress-until", "Value": case["until"]}] if "until" in case else []
    group = {"GroupId": "sg-1", "GroupName": "x", "OwnerId": ACCOUNT, "Tags": tags, "IpPermissions": case["rules"]}
    public = case.get("public", ())
    made = of_rehearsal([group], [], [], account=ACCOUNT, region="us-east-1", now=NOW, public_ports=public)
    assert [[row.traffic, row.before, row.state] for row in made.rows] == case["rows"]


@pytest.mark.parametrize("case", named("others"))
def test_what_other_rules_let_in_where_one_was_removed(case):
    """A rule that was removed shows the networks that come in by the group's other rules for the same ports."""
    group = {"GroupId": "sg-1", "GroupName": "x", "OwnerId": ACCOUNT, "IpPermissions": case["rules"]}
    found = [Open(f"sg-{group}", *rest) for group, *rest in case["found"]]
    records = [record(*each) for each in case["records"]]
    made = rows([group], records, found, account=ACCOUNT, region="us-east-1", today="2026-05-04")
    assert {row.before: list(row.others) for row in made} == case["others"]


def test_refuses_records_of_another_action():
    """What restore-ingress did is no report of what was closed."""
    with pytest.raises(ValueError, match="a record says 'restored', which is not of replace-ingress"):
        rows(
            [], [record(1, "tcp", "22", None, "0.0.0.0/0", "restored")], account=ACCOUNT, region="r", today="2026-05-04"
        )


# -- from a sweep


def reported(folder, *arguments):
    """Run the command on a sweep's output, in another time zone; give its rows in short, and all of the JSON."""
    command = [C7N_INGRESS, "report", str(folder), *arguments]
    elsewhere = os.environ | {"TZ": "Asia/Kathmandu"}
    done = subprocess.run(command, cwd=ROOT, env=elsewhere, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    page = Path(done.stdout.strip())
    written = json.loads(page.with_suffix(".json").read_text())
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert len(list(csv.reader(page.with_suffix(".csv").open(encoding="utf-8-sig", newline="")))) == 1 + len(
        written["rows"]
    )
    return [
        (row["name"], row["traffic"], row["before"], row["after"], row["state"]) for row in written["rows"]
    ], written


def test_report_of_a_sweep(cloud, tmp_path):
    """A sweep's own output makes the report: dry, then real with one group that fails, then again with nothing left."""
    make_queue(cloud)
    crowded = [{"protocol": "tcp", "ports": port, "source": "10.0.0.0/8"} for port in range(1000, 1058)]
    both = [{"protocol": "tcp", "ports": 22, "source": each} for each in ("0.0.0.0/0", "::/0")]
    web = {"protocol": "tcp", "ports": 443, "source": "0.0.0.0/0", "description": "=1+1"}
    load(
        [
            group_of({"name": "bastion", "ingress": both, "tags": {"owner": "jo"}}, 1),
            group_of({"name": "crowded", "ingress": [web, *crowded, {**web, "ports": 444}]}, 2),
            group_of({"name": "closed", "ingress": [{**web, "source": "10.0.0.0/8"}]}, 3),
        ]
    )
    policy = edited("open-ingress-sweep", tmp_path, ["198.18.7.0/24", "198.18.8.0/24", "2001:2:0:7::/64"])
    out = tmp_path / "out"

    assert run(cloud, policy, out, "--dryrun").returncode == 0
    found, written = reported(out)
    assert found == [
        ("bastion", "tcp 22", "0.0.0.0/0", [], "not closed"),
        ("bastion", "tcp 22", "::/0", [], "not closed"),
        ("crowded", "tcp 443", "0.0.0.0/0", [], "not closed"),
        ("crowded", "tcp 444", "0.0.0.0/0", [], "not closed"),
    ]
    assert written["rows"][0]["tags"] == {"owner": "jo"}

    assert run(cloud, policy, out).returncode != 0
    closed, written = reported(out)
    new = ["198.18.7.0/24", "198.18.8.0/24"]
    assert closed == [
        ("bastion", "tcp 22", "0.0.0.0/0", new, "closed"),
        ("bastion", "tcp 22", "::/0", ["2001:2:0:7::/64"], "closed"),
        ("crowded", "tcp 443", "0.0.0.0/0", new[:1], "closed, but …"),
        ("crowded", "tcp 444", "0.0.0.0/0", new[:1], "closed, but …"),
    ]
    lacking = "closed, but 198.18.8.0/24 could not be added for tcp 44{}"
    assert [row["failure"] for row in written["rows"][2:]] == [lacking.format(number) for number in (3, 4)]
    assert written["failures"] == []

    load([group_of({"name": "new", "ingress": [{**web, "source": "::/0"}]}, 4)])
    assert run(cloud, policy, out).returncode == 0
    assert run(cloud, policy, out, "--dryrun").returncode == 0
    found, written = reported(out)
    assert sorted(found) == sorted([*closed, ("new", "tcp 443", "::/0", ["2001:2:0:7::/64"], "closed")])
    assert [run.partition("open-ingress-sweep: ")[2] for run in written["runs"]] == [
        "2 groups matched, 0 rules changed",
        "2 groups matched, 4 rules changed",
        "1 group matched, 1 rule changed",
        "0 groups matched, 0 rules changed, a dry run",
    ]


def test_report_of_a_sweep_that_stopped(cloud, tmp_path):
    """A run that stopped before it had looked is told of, and what an earlier one found is not shown as its own."""
    make_queue(cloud)
    open_rule = {"protocol": "tcp", "ports": 22, "source": "0.0.0.0/0"}
    load([group_of({"name": f"group {number}", "ingress": [open_rule]}, number) for number in range(1, 4)])
    policy = edited("open-ingress-sweep", tmp_path, ["198.18.7.0/24"])
    out = tmp_path / "out"
    assert run(cloud, policy, out, "--dryrun").returncode == 0
    unlimited = re.sub(r"    max-resources: .*\n", "", policy.read_text())
    policy.write_text(unlimited.replace("    filters:\n", "    max-resources: 1\n    filters:\n", 1))
    assert run(cloud, policy, out).returncode != 0
    found, written = reported(out)
    assert found == []
    (failure,) = written["failures"]
    stopped = f"{ACCOUNT} us-east-1: the run stopped before it had looked at the groups: "
    assert failure.startswith(f"{stopped}policy:open-ingress-sweep exceeded resource-limit:1 found:3")
    assert "Not everything could be looked at." in (out / "report.html").read_text(encoding="utf-8")


def test_report_of_many_runs(cloud, chromium, tmp_path):
    """The runs of several regions, in folders of their own, make one report, in which a region can be chosen."""
    make_queue(cloud)
    for number, region in enumerate(("us-east-1", "eu-west-1"), 1):
        ingress = [{"protocol": "tcp", "ports": 22, "source": "0.0.0.0/0"}]
        load([group_of({"name": f"of {region}", "ingress": ingress}, number)], region)
    policy = edited("open-ingress-sweep", tmp_path, ["198.18.7.0/24"])
    assert run(cloud, policy, tmp_path / "out", "--dryrun", "--region", "eu-west-1").returncode == 0
    found, written = reported(tmp_path / "out")
    assert [row[0] for row in found] == ["of eu-west-1", "of us-east-1"]
    assert {row["name"].removeprefix("of ") for row in written["rows"]} == {row["region"] for row in written["rows"]}
    page = chromium.new_page()
    page.goto((tmp_path / "out" / "report.html").as_uri())
    page.get_by_role("combobox", name="Region").select_option("eu-west-1")
    assert shown(page) == ["of eu-west-1"]
    page.close()


@pytest.mark.parametrize("case", named("refused"))
def test_refuses(tmp_path, case):
    """What is no run's output is refused in one line, and nothing is written."""
    out = tmp_path / "out"
    out.mkdir()
    for name, text in case["files"].items():
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_text(text)
    facts = ["--facts", str(out / "facts.json")] if "facts" in case else []
    if facts:
        (out / "facts.json").write_text(case["facts"])
    done = subprocess.run(
        [C7N_INGRESS, "report", str(out), *facts],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("c7n-ingress: " + case["says"].replace("{out}", str(out)))
    assert done.stderr.count("\n") == 1
    assert not list(out.rglob("report.*"))


def test_refuses_json_that_is_too_deep(tmp_path):
    """JSON that is nested too deeply is refused as none, by its name."""
    path = tmp_path / "facts.json"
    path.write_text("[" * 100_000)
    with pytest.raises(NoRunError, match=r"facts.json: no JSON that can be read"):
        facts_from(path)


def test_writes_into_a_folder(tmp_path):
    """The folder to write into is made."""
    assert write(report_of("x"), tmp_path / "new" / "folder").exists()


def test_refuses_to_write_into_a_file(tmp_path, monkeypatch, capsys):
    """A file in the place of the folder to write into is named in one line."""
    monkeypatch.setattr("c7n_ingress_tools.report.sources.of_runs", lambda *_: report_of("x"))
    path = tmp_path / "file"
    path.write_text("mine")
    assert main(["report", str(tmp_path), "--into", str(path)]) == 2
    assert (
        capsys.readouterr().err
        == f"c7n-ingress: {path}: cannot be written (File exists). Name another folder: --into DIR\n"
    )


# -- CSV and JSON


@pytest.mark.parametrize(("cell", "written"), CASES["cells"])
def test_cells_are_no_formulas(cell, written):
    """What a spreadsheet would calculate is made text."""
    assert tables.harmless(cell) == written


typed = st.text(max_size=60) | st.sampled_from([case["text"] for case in CASES["hostile"]])


def report_of(text, **more):
    """Give a report of one row in which a text stands wherever somebody may have typed it."""
    row = Row(
        account=ACCOUNT, region="us-east-1", vpc="vpc-1", group="sg-1", name=text, tags={text: text}, protocol="tcp",
        ports="22", description=text, before="0.0.0.0/0", after=("198.18.7.0/24",), how=("modified",), state="closed",
        failure=text, exposure="internet", behind=(text,), cut_off=CutOff(1, 1, (Caller(text, 1, text),)),
    )  # fmt: skip
    return Report("t", "m", "2026-05-04T10:02:00Z", ("p",), (row, *more.pop("rows", ())), **more)


@given(typed)
def test_csv_and_json_hold_what_was_typed(text):
    """CSV and JSON can be read again, hold each text as it is shown, and no cell is a formula."""
    report = report_of(text)
    head, cells = csv.reader(io.StringIO(tables.as_csv(report), newline=""))
    read = dict(zip(head, cells, strict=True))
    assert read["name"] == tables.harmless(visible(text))
    assert not any(cell.lstrip().startswith(tuple(tables.FORMULA)) for cell in cells)
    assert all(cell.isprintable() for cell in cells)
    (row,) = json.loads(tables.as_json(report))["rows"]
    assert (row["name"], row["tags"], row["behind"]) == (text, {text: text}, [text])


# -- the page, in a browser


@pytest.fixture(scope="module")
def chromium():
    """Start a browser for the tests of this module."""
    with browser() as started:
        yield started


@pytest.fixture
def opened(chromium, tmp_path):
    """Write a report and open its page, in a window; what it asks for, logs or pops up fails the test at its end."""
    unwanted, windows = [], []

    def open_page(report, **window):
        url = write(report, tmp_path).as_uri()
        windows.append(chromium.new_context(**{"viewport": {"width": 1280, "height": 900}, **window}))
        page = windows[-1].new_page()
        page.on("dialog", lambda dialog: (unwanted.append(f"dialog {dialog.message}"), dialog.dismiss()))
        page.on("console", lambda said: unwanted.append(f"console {said.text}"))
        page.on("pageerror", lambda error: unwanted.append(f"error {error}"))
        page.on("request", lambda asked: None if asked.url == url else unwanted.append(f"request {asked.url}"))
        page.on("framenavigated", lambda frame: None if frame.url == url else unwanted.append(f"frame {frame.url}"))
        page.goto(url)
        return page

    yield open_page
    for window in windows:
        window.close()
    assert unwanted == []


def many(number, **changes):
    """Give a report of many rows, whose groups are named by turns."""
    made = [
        Row(
            account=ACCOUNT, region="us-east-1", vpc="vpc-1", group=f"sg-{each}", name=f"group {each}",
            tags={"owner": f"team-{each % 3}"}, protocol="tcp", ports=("22", "443", "8000-8010")[each % 3],
            description="", before=("0.0.0.0/0", "::/0")[each % 2], after=("198.18.7.0/24",), how=("modified",),
            state=("closed", "not closed")[each % 5 == 0],
        )
        for each in range(number)
    ]  # fmt: skip
    return Report("t", "m", "2026-05-04T10:02:00Z", ("p",), worst_first(made), **changes)


def rehearsed(facts):
    """Give the report of the sample, one of whose groups failed."""
    groups = [group | {"OwnerId": ACCOUNT} for group in sample_groups.sample(NOW.date())]
    failures = ["sg-0e91b5c3a7d402f68 (bastion): no permission", "a message did not arrive"]
    done = [
        record(1, "tcp", "22", "0.0.0.0/0", "198.18.7.0/24", "modified")
        | {"group": "sg-0c6a2e9d7b4f15830", "group_name": "launch-wizard-1"}
    ]
    known = {group["GroupId"]: FACTS for group in groups} if facts else {}
    return of_rehearsal(groups, done, failures, account=ACCOUNT, region="us-east-1", now=NOW, facts=known)


def shown(page):
    """Give the names of the groups in the rows that are shown, in order."""
    return texts_of(page.locator("tbody tr:not([hidden]) .name"))


def texts_of(elements):
    """Give the texts of elements, those that a browser has not laid out yet as well."""
    return elements.evaluate_all("all => all.map(each => each.textContent)")


def test_hostile_texts_are_shown_and_do_nothing(opened):
    """Whatever somebody typed is shown where it belongs, and none of it runs, loads or breaks out."""
    texts = [case["text"] for case in CASES["hostile"]] + ["x" * 10_000]
    expected = [case.get("shown", case["text"]) for case in CASES["hostile"]] + ["x" * 10_000]
    made = [row for text in texts for row in report_of(text).rows]
    report = Report("t", "m", "2026-05-04T10:02:00Z", ("p",), tuple(made), failures=tuple(texts))
    page = opened(report)
    page.mouse.move(400, 400)
    assert texts_of(page.locator("tbody tr .name")) == expected
    for text, row in zip(expected, page.locator("tbody tr").all(), strict=True):
        assert texts_of(row.locator("bdi")).count(text) == 7
    assert texts_of(page.locator(".box li")) == expected
    assert page.locator("script").count() == 1
    assert page.locator("iframe, img, style:not(head style), base, tbody a, h1 ~ h1").count() == 0
    assert page.title() == "t, 2026-05-04"


@examples(8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(typed, min_size=1, max_size=30))
def test_any_text_is_shown_and_does_nothing(opened, texts):
    """Of any texts, each is shown as it was typed, or by the numbers of what cannot be seen."""
    page = opened(
        Report("t", "m", "2026-05-04T10:02:00Z", ("p",), tuple(row for text in texts for row in report_of(text).rows))
    )
    names = texts_of(page.locator("tbody tr .name"))
    assert names == [visible(text) or "(no name)" for text in texts]
    assert page.locator("script").count() == 1


def test_nothing_foreign_may_run(chromium, tmp_path):
    """Should a script find its way into the page all the same, the page's policy stops it, and what it would load."""
    page = chromium.new_page()
    page.goto(write(many(3), tmp_path).as_uri())
    stopped = page.evaluate("""async () => {
        const stopped = [];
        document.addEventListener("securitypolicyviolation", (event) => stopped.push(event.effectiveDirective));
        document.body.insertAdjacentHTML("beforeend", "<img src=https://example.com/x><b style='color:red'>x</b>");
        const script = document.createElement("script");
        script.textContent = "window.ran = true";
        document.body.append(script);
        await new Promise((done) => setTimeout(done, 100));
        return [stopped.sort(), window.ran ?? false];
    }""")
    assert stopped == [["img-src", "script-src-elem", "style-src-attr"], False]
    page.close()


@pytest.mark.parametrize("facts", [False, True])
@pytest.mark.parametrize("window", ["desk", "phone", "dark"])
def test_accessible(opened, window, facts):
    """Axe finds no violation, with and without what is optional, at a desk, on a phone, in the dark."""
    windows = {
        "desk": {},
        "phone": {"viewport": {"width": 390, "height": 844}},
        "dark": {"color_scheme": "dark"},
    }
    page = opened(rehearsed(facts), **windows[window])
    found = Axe().run(page)
    assert [(each["id"], [node["html"] for node in each["nodes"]]) for each in found.response["violations"]] == []
    assert len(found.response["passes"]) > 20


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_nothing_is_wider_than_the_window(opened, width):
    """No window has to be scrolled sideways, however long the words are."""
    report = rehearsed(facts=True)
    long_words = report_of("x" * 300).rows
    page = opened(
        Report("t", "m", report.time, ("p",), (*report.rows, *long_words), failures=("y" * 300,)),
        viewport={"width": width, "height": 900},
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_filters(opened):
    """Words, in whatever order, and choices leave the rows that fit all of them; reset brings all back."""
    page = opened(many(120))
    assert page.locator("[data-status]").inner_text() == "120 rules in 120 groups"
    page.get_by_label("Search").fill("TEAM-0 sg-1")
    page.wait_for_function("document.querySelector('[data-status]').textContent.includes(' of ')")
    expected = [each for each in range(120) if each % 3 == 0 and str(each).startswith("1")]
    assert sorted(shown(page)) == sorted(f"group {each}" for each in expected)
    page.get_by_role("combobox", name="State", exact=True).select_option("not closed")
    expected = [each for each in expected if each % 5 == 0]
    assert sorted(shown(page)) == sorted(f"group {each}" for each in expected)
    count = len(expected)
    assert page.locator("[data-status]").inner_text() == f"{count} of 120 rules in {count} group{'s' * (count != 1)}"
    page.get_by_label("Search").fill("nothing like it")
    page.get_by_text("No rule is like that.").wait_for()
    assert shown(page) == []
    page.get_by_role("button", name="Reset").click()
    assert len(shown(page)) == 120


def test_sorts(opened):
    """A click on a column's head sorts by it, numbers as numbers, a second one the other way round."""
    page = opened(many(120))
    worst = shown(page)
    names = [f"group {each}" for each in range(120)]
    head = page.get_by_role("columnheader", name="Security group")
    head.get_by_role("button").click()
    assert shown(page) == names
    assert head.get_attribute("aria-sort") == "ascending"
    head.get_by_role("button").click()
    assert shown(page) == names[::-1]
    assert head.get_attribute("aria-sort") == "descending"
    page.get_by_role("columnheader", name="Severity").get_by_role("button").click()
    assert shown(page) == worst


def test_sorts_on_a_phone(opened):
    """Where there is no room for heads of columns, a choice sorts."""
    page = opened(many(60), viewport={"width": 390, "height": 844})
    page.get_by_label("Sort by").select_option("Security group")
    assert shown(page) == [f"group {each}" for each in range(60)]


def test_reads_without_script(opened):
    """Without script all rows are there, worst first, and nothing that would not work."""
    page = opened(many(120), java_script_enabled=False)
    assert shown(page) == [row.name for row in many(120).rows]
    assert page.locator(".filters").is_hidden()
    assert page.locator("thead button").count() == 0


def test_prints(opened):
    """On paper there are no filters, rows are not torn, the head is repeated, and what was filtered out stays away."""
    page = opened(many(120))
    page.get_by_role("combobox", name="State", exact=True).select_option("not closed")
    page.emulate_media(media="print")
    assert page.locator(".filters").is_hidden()
    style = "(each, name) => getComputedStyle(each)[name]"
    assert page.locator("thead").evaluate(style, "display") == "table-header-group"
    assert page.locator("tbody tr").first.evaluate(style, "breakInside") == "avoid"
    assert page.locator("tbody").first.evaluate(style, "contentVisibility") == "visible"
    assert len(shown(page)) == 24
    assert page.locator("tbody tr:visible").count() == 24


def test_each_printed_page_has_the_head(opened):
    """The summary has a page of its own; each page after it begins with the table's head, and no rule is missing."""
    printed = [page.extract_text() for page in PdfReader(io.BytesIO(opened(many(60)).pdf())).pages]
    assert len(printed) > 3
    assert "group 1" not in printed[0]
    assert [page.count("Security group") for page in printed] == [0] + [1] * (len(printed) - 1)
    rules = re.findall(r"group (\d+)", "".join(printed[1:]))
    assert sorted(rules, key=int) == [str(number) for number in range(60)]


def test_charts_say_the_same_in_words(opened):
    """Each chart has bars and numbers for what was open before and after, and a description with the same numbers."""
    page = opened(many(120))
    chart = page.get_by_role("img", name="Open rules by what they let in")
    assert chart.locator("rect.reactive").count() >= 6
    words = page.locator("#" + chart.get_attribute("aria-describedby")).text_content()
    assert words == "tcp 22: 40 before, 8 after; tcp 8000-8010: 40 before, 8 after; tcp 443: 40 before, 8 after"
    texts = chart.locator("text").all_text_contents()
    assert sorted(texts) == sorted(["tcp 22", "tcp 8000-8010", "tcp 443", *["40", "8"] * 3])


def test_callers_beyond_the_first_are_counted(opened):
    """Of those who would be cut off, a row names five and counts the rest."""
    page = opened(rehearsed(facts=True))
    cell = page.locator("tr", has_text="launch-wizard-1").filter(has_text="tcp 22").locator("td").last
    assert texts_of(cell.locator("bdi")) == [f"198.51.100.{n}" for n in range(5)]
    assert cell.text_content().startswith("9 sources")
    assert "and 4 more" in cell.text_content()


def test_nothing_open(opened):
    """An account with nothing open gets a page that says so."""
    page = opened(Report("t", "m", "2026-05-04T10:02:00Z", ("p",), (), looked_at=1200))
    assert "No open rule was found in 1,200 security groups." in page.inner_text("main")
