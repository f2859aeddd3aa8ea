import csv
import datetime as dt
import io
import json
import os
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from c7n.utils import yaml_load
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from pypdf import PdfReader

from c7n_ingress.decide.exemptions import Exemption, parse_register
from c7n_ingress.decide.rules import Traffic
from c7n_ingress.decide.states import CLOSING
from c7n_ingress_tools.cli import main
from c7n_ingress_tools.rehearsal import groups as sample_groups
from c7n_ingress_tools.report import tables
from c7n_ingress_tools.report.page import write
from c7n_ingress_tools.report.rows import Caller, Clients, Place, Report, Row, Window, rows, worst_first
from c7n_ingress_tools.report.sources import NoRunError, of_rehearsal, of_runs
from c7n_ingress_tools.report.text import visible
from tests.support.browser import browser
from tests.support.embedded import ACCOUNT, ROOT, group_of, load, make_queue, run, shipped
from tests.support.forked import C7N_INGRESS, forked
from tests.support.search import examples

CASES = yaml_load((ROOT / "tests" / "cases" / "report.yml").read_text(encoding="utf-8"))
SSH, WIDE = Traffic("tcp", 22, 22), Traffic("tcp", 8000, 8010)
NOW = dt.datetime(2026, 5, 4, 10, 2, tzinfo=dt.timezone.utc)
CALLERS = tuple(Caller(f"198.51.100.{n}", 10**n, "2026-05-01 10:02") for n in range(7))
BLOCKED = Clients(9, 1_234_567, "2026-05-01 10:02", CALLERS, 2, 3, ("198.51.100.0/29", "198.51.100.9/32"), 4)
CLIENTS = {"TCP 22 (SSH) from 0.0.0.0/0": BLOCKED, "TCP 22 (SSH) from ::/0": Clients(0)}


def known_of(row):
    """Return what is known of a rule, where flow logs and interfaces were read."""
    clients = CLIENTS.get(f"{row.lets_in} from {row.before}")
    return {"exposure": "internet", "behind": ("load balancer shop",), "clients": clients}


def named(kind):
    """Return the cases of a kind, named."""
    return [pytest.param(case, id=case["name"]) for case in CASES[kind]]


# -- rows


def shape(protocol, ports):
    """Return protocol and ports of a case in EC2's own fields."""
    made = {"IpProtocol": protocol}
    if protocol in {"tcp", "udp"}:
        first, _, last = ("0-65535" if ports == "all" else ports).partition("-")
        made |= {"FromPort": int(first), "ToPort": int(last or first)}
    elif protocol.startswith("icmp"):
        made |= {"FromPort": -1 if ports == "all" else int(ports.removeprefix("type ")), "ToPort": -1}
    return made


def matched(found):
    """Return the open rules of a case, by the group's number, as a filter notes them: permissions with one source."""
    by_group = {}
    for group, protocol, ports, source in found:
        listing, key = ("Ipv6Ranges", "CidrIpv6") if ":" in source else ("IpRanges", "CidrIp")
        if source.startswith("pl-"):
            listing, key = "PrefixListIds", "PrefixListId"
        by_group.setdefault(group, []).append({**shape(protocol, ports), listing: [{key: source}]})
    return by_group


def found_open(group):
    """Return what a filter noted on a group of a case."""
    return group.get("found", ())


def record(*short):
    """Return a record as the action writes it, of group, protocol, ports, was, now and how."""
    group, protocol, ports, was, now, how = short
    return {
        "traffic": shape(protocol, ports),
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
    found = matched(case.get("found", ()))
    groups = [
        {
            "found": found.get(number, ()),
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
        found_open,
        account=ACCOUNT,
        region="us-east-1",
        failures={
            f"sg-{group}": [why.replace("{todo}", CLOSING.partly.todo)]
            for group, why in case.get("failures", {}).items()
        },
        exemptions=parse_register(case.get("exemptions", [])),
        today=NOW.date(),
    )
    short = [[int(row.group[3:]), row.lets_in, row.before, list(row.after), row.state] for row in worst_first(made)]
    for each, row in zip(short, worst_first(made), strict=True):
        each.extend([row.failure] if row.failure else [])
        each.extend(text for text in row.exemption or () if text and "exemptions" in case)
    assert short == case["rows"]


@pytest.mark.parametrize("case", named("open"))
def test_open_is_what_the_filter_matches(case):
    """In a group that the rehearsal's function left alone, the rules are open that the policy's filter matches."""
    tags = [{"Key": "open-ingress-until", "Value": case["until"]}] if "until" in case else []
    group = {"GroupId": "sg-1", "GroupName": "x", "OwnerId": ACCOUNT, "Tags": tags, "IpPermissions": case["rules"]}
    public = case.get("public", ())
    made = of_rehearsal([group], [], [], account=ACCOUNT, region="us-east-1", now=NOW, public_ports=public)
    assert [[row.lets_in, row.before, row.state] for row in made.rows] == case["rows"]


@pytest.mark.parametrize("case", named("others"))
def test_what_other_rules_let_in_where_one_was_removed(case):
    """A rule that was removed shows the networks that come in by the group's other rules for the same ports."""
    group = {"GroupId": "sg-1", "GroupName": "x", "OwnerId": ACCOUNT, "IpPermissions": case["rules"]}
    records = [record(*each) for each in case["records"]]
    made = rows(
        [group | {"found": matched(case["found"])[1]}],
        records,
        found_open,
        account=ACCOUNT,
        region="us-east-1",
        today=NOW.date(),
    )
    assert {row.before: list(row.others) for row in made} == case["others"]


def test_refuses_records_of_another_action():
    """What restore-ingress did is no report of what was closed."""
    restored = record(1, "tcp", "22", None, "0.0.0.0/0", "restored")
    with pytest.raises(ValueError, match="a record says 'restored', which is not of replace-ingress"):
        rows([], [restored], found_open, account=ACCOUNT, region="r", today=NOW.date())


# -- from a sweep


def reported(folder, *arguments, code=0):
    """Run the command on a sweep's output, in another time zone; return its rows in short, and all of the JSON."""
    command = [C7N_INGRESS, "report", str(folder), *arguments]
    elsewhere = os.environ | {"TZ": "Asia/Kathmandu"}
    done = forked(command, cwd=ROOT, env=elsewhere)
    assert (done.returncode, done.stderr) == (code, "")
    page = Path(done.stdout.splitlines()[-1])
    written = json.loads(page.with_suffix(".json").read_text())
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    failed = [place for place in written["places"] if place["failure"]]
    with page.with_suffix(".csv").open(encoding="utf-8-sig", newline="") as file:
        assert len(list(csv.reader(file))) == 1 + len(failed) + len(written["rows"])
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
    policy = shipped("open-ingress-sweep", tmp_path, ["198.18.7.0/24", "198.18.8.0/24", "2001:2:0:7::/64"])
    out = tmp_path / "out"

    assert run(cloud, policy, out, "--dryrun").returncode == 0
    found, written = reported(out)
    assert found == [
        ("bastion", "TCP 22 (SSH)", "0.0.0.0/0", [], "not closed"),
        ("bastion", "TCP 22 (SSH)", "::/0", [], "not closed"),
        ("crowded", "TCP 443 (HTTPS)", "0.0.0.0/0", [], "not closed"),
        ("crowded", "TCP 444", "0.0.0.0/0", [], "not closed"),
    ]
    assert written["rows"][0]["tags"] == {"owner": "jo"}

    swept = run(cloud, policy, out)
    assert swept.returncode != 0
    assert '{"v": ' not in swept.stderr
    table = swept.stderr.partition("replace-ingress:\n")[2].splitlines()[:5]
    assert [re.sub("  +", "  ", line) for line in table] == CASES["summary"]
    closed, written = reported(out, code=1)
    new = ["198.18.7.0/24", "198.18.8.0/24"]
    assert closed == [
        ("bastion", "TCP 22 (SSH)", "0.0.0.0/0", new, "closed"),
        ("bastion", "TCP 22 (SSH)", "::/0", ["2001:2:0:7::/64"], "closed"),
        ("crowded", "TCP 443 (HTTPS)", "0.0.0.0/0", new[:1], "closed, but …"),
        ("crowded", "TCP 444", "0.0.0.0/0", new[:1], "closed, but …"),
    ]
    lacking = "closed, but 198.18.8.0/24 could not be added for tcp 44{}"
    assert [row["failure"] for row in written["rows"][2:]] == [lacking.format(number) for number in (3, 4)]
    assert written["failures"] == []
    assert written["places"][0]["groups"] == {"closed": 1, "closed, but …": 1}
    assert written["places"][0]["failure"].startswith("1 group failed: sg-00000000000000002: closed, but 198.18.8.0/24")

    load([group_of({"name": "new", "ingress": [{**web, "source": "::/0"}]}, 4)])
    assert run(cloud, policy, out).returncode == 0
    assert run(cloud, policy, out, "--dryrun").returncode == 0
    found, written = reported(out)
    assert sorted(found) == sorted([*closed, ("new", "TCP 443 (HTTPS)", "::/0", ["2001:2:0:7::/64"], "closed")])
    assert written["made"].startswith("4 runs of Cloud Custodian looked for groups that let the internet in.")
    assert [run.partition("open-ingress-sweep: ")[2] for run in written["runs"]] == [
        "2 groups matched, 0 rules changed",
        "2 groups matched, 4 rules changed",
        "1 group matched, 1 rule changed",
        "0 groups matched, 0 rules changed, a dry run",
    ]
    page = (out / "report.html").read_text()
    assert "<summary>4 runs</summary>" in page
    assert all(run in page for run in written["runs"])


def test_report_of_a_sweep_that_stopped(cloud, tmp_path):
    """A run that stopped before it had looked is reported, and what an earlier one found is not shown as its own."""
    make_queue(cloud)
    open_rule = {"protocol": "tcp", "ports": 22, "source": "0.0.0.0/0"}
    load([group_of({"name": f"group {number}", "ingress": [open_rule]}, number) for number in range(1, 4)])
    policy = shipped("open-ingress-sweep", tmp_path, ["198.18.7.0/24"])
    out = tmp_path / "out"
    assert run(cloud, policy, out, "--dryrun").returncode == 0
    limited = shipped("open-ingress-sweep", tmp_path, ["198.18.7.0/24"], lambda each: each.update({"max-resources": 1}))
    assert run(cloud, limited, out).returncode != 0
    found, written = reported(out, code=1)
    assert found == []
    (failure,) = written["failures"]
    stopped = f"{ACCOUNT} us-east-1: the run stopped before it had looked at the groups: "
    assert failure.startswith(f"{stopped}policy:open-ingress-sweep exceeded resource-limit:1 found:3")
    assert "Not everything could be looked at" in (out / "report.html").read_text(encoding="utf-8")


def test_report_of_many_runs(cloud, chromium, tmp_path):
    """The runs of several regions, in folders of their own, make one report, in which a region can be chosen."""
    make_queue(cloud)
    for number, region in enumerate(("us-east-1", "eu-west-1"), 1):
        ingress = [{"protocol": "tcp", "ports": 22, "source": "0.0.0.0/0"}]
        load([group_of({"name": f"of {region}", "ingress": ingress}, number)], region)
    policy = shipped("open-ingress-sweep", tmp_path, ["198.18.7.0/24"])
    assert run(cloud, policy, tmp_path / "out", "--dryrun", "--region", "eu-west-1").returncode == 0
    found, written = reported(tmp_path / "out")
    assert [row[0] for row in found] == ["of eu-west-1", "of us-east-1"]
    assert {row["name"].removeprefix("of ") for row in written["rows"]} == {row["region"] for row in written["rows"]}
    page = chromium.new_page()
    page.goto((tmp_path / "out" / "report.html").as_uri())
    page.get_by_role("combobox", name="Region").select_option("eu-west-1")
    assert shown(page) == ["of eu-west-1"]
    page.close()


def swept_by_c7n_org(out, accounts, regions, now=NOW):
    """Write what c7n-org writes, one open group for each account and region, and return the file of accounts.

    Of the accounts, the second cannot be assumed, the third was refused, and the fourth was swept a week before.
    """
    listed = [
        {"name": f"team {n}", "account_id": f"2{n:011}", "role": "sweeper", "regions": regions} for n in range(accounts)
    ]
    for number, account in enumerate(listed):
        for region in regions if number != 2 else ():
            folder = out / account["name"] / region / "open-ingress-sweep"
            folder.mkdir(parents=True)
            if number == 1:
                (folder / "custodian-run.log").touch()
                continue
            time = now - dt.timedelta(days=7 * (number == 3))
            stamp = f"{time:%Y-%m-%d %H:%M:%S},000 - custodian"
            looked = f"policy:open-ingress-sweep resource:aws.security-group region:{region} count:1 time:0.1"
            written = record(number, "tcp", "22", "0.0.0.0/0", "198.18.7.0/24", "modified")
            written |= {"account": account["account_id"], "region": region}
            (folder / "custodian-run.log").write_text(
                f"{stamp}.filters - INFO - exempt: left open in 2 groups\n"
                f"{stamp}.policy - INFO - {looked}\n"
                f"{stamp}.journal - INFO - {json.dumps(written)}\n"
            )
            group = {"GroupId": f"sg-{number}", "GroupName": "web", "OwnerId": account["account_id"]}
            (folder / "resources.json").write_text(json.dumps([group]))
            seconds = time.timestamp()
            metadata = {
                "policy": {"name": "open-ingress-sweep", "actions": ["replace-ingress"]},
                "execution": {"start": seconds, "end_time": seconds},
                "config": {"account_id": account["account_id"], "region": region, "dryrun": False},
                "metrics": [],
            }
            (folder / "metadata.json").write_text(json.dumps(metadata))
    path = out / "accounts.yml"
    path.write_text(json.dumps({"accounts": listed}))
    return path


def test_hundreds_of_accounts(chromium, tmp_path, capsys):
    """Of 200 accounts in three regions, none is missing: what failed comes first, and an account can be chosen."""
    regions = ["eu-central-1", "us-east-1", "us-west-2"]
    now = dt.datetime.now(dt.timezone.utc).replace(microsecond=0)
    accounts = swept_by_c7n_org(tmp_path, 200, regions, now)
    log = tmp_path / "c7n-org.log"
    log.write_text("c7n_org:WARNING Error running policy in team 1 @ us-east-1 exception: [/red] \x1b[31m")
    assert main(["report", str(tmp_path), "--accounts", str(accounts), "--log", str(log)]) == 1
    head, lead, _, columns, _, *lines = capsys.readouterr().out.splitlines()
    assert head == "9 of 600 accounts and regions failed"
    assert lead == "591 rules in 591 groups let the internet in before: 591 closed."
    assert (
        " ".join(columns.split())
        == "account region open groups not closed closed, but … exempt closed why the run failed"
    )
    assert [line.split()[1] for line in lines[:9]] == [each for each in "123" for _ in regions]
    assert all(why in lines[at] for at, why in ((0, "cannot be assumed"), (3, "no output:"), (6, "no output since")))
    assert "[/red] ⟨U+001B⟩[31m" in lines[1]
    assert lines[9].split() == ["team", "0", "eu-central-1", "1", "0", "0", "2", "1"]
    assert "… and 540 more, with fewer open groups: see" in "\n".join(lines)
    page = chromium.new_page()
    page.goto((tmp_path / "report.html").as_uri())
    places = page.locator(".places tbody tr")
    assert places.count() == 600
    page.get_by_role("combobox", name="Account").select_option("team 7 200000000007")
    assert shown(page) == ["group 7"] * 3
    assert page.locator("[data-status]").inner_text() == "3 of 591 rules in 3 groups"
    assert texts_of(page.locator(".places tbody tr:not([hidden]) th bdi")) == ["team 7"] * 3
    page.close()


def test_the_page_of_one_account_counts_exempt_groups(chromium, tmp_path):
    """The page of a sweep says how many groups are exempt, of one account as of several."""
    swept_by_c7n_org(tmp_path, 1, ["us-east-1"])
    page = chromium.new_page()
    page.goto(write(of_runs([tmp_path], NOW), tmp_path).as_uri())
    assert page.locator(".places td[data-label=exempt]").all_inner_texts() == ["2"]
    page.close()


def test_the_output_of_an_account_that_had_the_name_before(tmp_path, capsys):
    """If c7n-org's file gives a name to another account, the output below that name does not count for it."""
    path = swept_by_c7n_org(tmp_path, 1, ["us-east-1"], dt.datetime.now(dt.timezone.utc).replace(microsecond=0))
    assert main(["report", str(tmp_path), "--accounts", str(path), "--json"]) == 0
    capsys.readouterr()
    path.write_text(path.read_text().replace("200000000000", "300000000000"))
    assert main(["report", str(tmp_path), "--accounts", str(path), "--json"]) == 1
    written = json.loads(capsys.readouterr().out)
    (place,) = written["places"]
    assert (place["account"], place["time"]) == ("300000000000", "")
    assert place["failure"] == "its folder has the output of account 200000000000"
    assert written["rows"] == []


@pytest.mark.parametrize("account", [5, ["1"], True])
def test_a_forged_account_among_several(tmp_path, capsys, account):
    """An output whose account is no text is reported as any other, and the accounts are put in order all the same."""
    swept_by_c7n_org(tmp_path, 5, ["us-east-1"], dt.datetime.now(dt.timezone.utc).replace(microsecond=0))
    path = tmp_path / "team 4" / "us-east-1" / "open-ingress-sweep" / "metadata.json"
    metadata = json.loads(path.read_text())
    metadata["config"]["account_id"] = account
    path.write_text(json.dumps(metadata))
    assert main(["report", str(tmp_path)]) == 1  # team 1 was not assumed
    assert sum(line.startswith("team ") for line in capsys.readouterr().out.splitlines()) == 4


AS_ANYBODY = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
"""Before a command: root may read everything, so it has to do without that."""


@pytest.mark.parametrize("listed", [True, False], ids=["listed", "not listed"])
@pytest.mark.parametrize("unread", ["account", "region", "policy", "custodian-run.log"])
def test_a_folder_that_may_not_be_read(tmp_path, unread, listed):
    """An account whose output may not be read has failed, and the others are reported."""
    path = swept_by_c7n_org(tmp_path, 5, ["us-east-1"], dt.datetime.now(dt.timezone.utc).replace(microsecond=0))
    log = tmp_path / "team 4" / "us-east-1" / "open-ingress-sweep" / "custodian-run.log"
    closed = dict(zip(["custodian-run.log", "policy", "region", "account"], [log, *log.parents], strict=False))[unread]
    closed.chmod(0)
    command = [*AS_ANYBODY, C7N_INGRESS, "report", tmp_path, "--json", *(["--accounts", path] if listed else [])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    closed.chmod(0o700)
    assert (done.returncode, done.stderr) == (1, "")
    made = json.loads(done.stdout)
    assert {row["group"] for row in made["rows"]} == ({"sg-0"} if listed else {"sg-0", "sg-3"})
    (why,) = (place["failure"] for place in made["places"] if "cannot be read" in (place["failure"] or ""))
    assert why.startswith(str(tmp_path / "team 4"))
    assert why.endswith(": cannot be read (Permission denied)")


def test_a_region_of_all_that_failed(tmp_path, capsys):
    """Where c7n-org runs in all regions, one that wrote nothing has failed if c7n-org printed that."""
    path = swept_by_c7n_org(tmp_path, 1, ["us-east-1"], dt.datetime.now(dt.timezone.utc).replace(microsecond=0))
    path.write_text(path.read_text().replace('["us-east-1"]', '["all"]'))
    (log := tmp_path / "c7n-org.log").write_text("Error running policy in team 0 @ eu-west-1 exception: no token")
    assert main(["report", str(tmp_path), "--accounts", str(path), "--log", str(log)]) == 1
    (line,) = (line for line in capsys.readouterr().out.splitlines() if "eu-west-1" in line)
    assert line.split() == ["team", "0", "eu-west-1", "-", "-", "-", "-", "-", "no", "token"]


def test_an_old_run_in_a_folder_with_a_new_one(tmp_path, capsys):
    """Of a folder with several runs, what a run changed that is older than a day does not count."""
    now = dt.datetime.now(dt.timezone.utc).replace(microsecond=0)
    path = swept_by_c7n_org(tmp_path, 1, ["us-east-1"], now)
    log = tmp_path / "team 0" / "us-east-1" / "open-ingress-sweep" / "custodian-run.log"
    new = log.read_text()
    old = new.replace(f"{now:%Y-%m-%d}", f"{now - dt.timedelta(days=7):%Y-%m-%d}").replace('"sg-0"', '"sg-9"')
    log.write_text(old + new)
    for arguments, lead in (([], "1 rule in 1 group"), (["--since", "30d"], "2 rules in 2 groups")):
        assert main(["report", str(tmp_path), "--accounts", str(path), *arguments]) == 0
        assert capsys.readouterr().out.splitlines()[1].startswith(f"{lead} ")


def test_a_narrow_terminal_shows_the_reason_below_the_table(tmp_path):
    """A column of reasons in a narrow terminal would be a word wide, so each reason is a line below the table."""
    path = swept_by_c7n_org(tmp_path, 1, ["us-east-1"], dt.datetime.now(dt.timezone.utc).replace(microsecond=0))
    path.write_text(path.read_text().replace('["us-east-1"]', '["all"]'))
    (log := tmp_path / "c7n-org.log").write_text("Error running policy in team 0 @ eu-west-1 exception: no token")
    command = ["report", str(tmp_path), "--accounts", str(path), "--log", str(log)]
    code = f"import pty, sys; sys.exit(pty.spawn([sys.executable, '-m', 'c7n_ingress_tools', *{command!r}]) >> 8)"
    environment = {**os.environ, "COLUMNS": "60", "NO_COLOR": "1", "TERM": "dumb"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "")
    assert "✗ team 0 eu-west-1: no token" in done.stdout.splitlines()


def test_two_accounts_of_one_name(tmp_path, capsys):
    """Two accounts of one name are refused, because c7n-org writes their output into one folder."""
    path = tmp_path / "accounts.yml"
    accounts = [{"name": "shop", "account_id": f"{n:012}", "role": "sweeper"} for n in (1, 2)]
    path.write_text(json.dumps({"accounts": accounts}))
    assert main(["report", str(tmp_path), "--accounts", str(path)]) == 2
    assert "two accounts have the name 'shop'" in capsys.readouterr().err


@pytest.mark.parametrize("case", named("refused"))
def test_refuses(tmp_path, case):
    """What is no run's output is refused in one line, and nothing is written."""
    out = tmp_path / "out"
    out.mkdir()
    for name, text in case["files"].items():
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_text(text)
    done = forked([C7N_INGRESS, "report", out], cwd=ROOT)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("c7n-ingress: " + case["says"].replace("{out}", str(out)))
    assert done.stderr.count("\n") == 1
    assert not list(out.rglob("report.*"))


def test_refuses_json_that_is_too_deep(tmp_path):
    """JSON that is nested too deeply is refused."""
    path = tmp_path / "metadata.json"
    path.write_text("[" * 100_000)
    (tmp_path / "custodian-run.log").touch()
    with pytest.raises(NoRunError, match=r"not what Cloud Custodian writes \(RecursionError"):
        of_runs([tmp_path], NOW)


def test_writes_into_a_folder(tmp_path):
    """The folder to write into is made."""
    assert write(report_of("x"), tmp_path / "new" / "folder").exists()


def test_refuses_to_write_into_a_file(tmp_path, monkeypatch, capsys):
    """A file where the output's folder should be is named in one line."""
    monkeypatch.setattr("c7n_ingress_tools.report.sources.of_runs", lambda *_: report_of("x"))
    path = tmp_path / "file"
    path.write_text("mine")
    assert main(["report", str(path)]) == 2
    assert capsys.readouterr().err == (f"c7n-ingress: {path}: File exists\n")


# -- CSV and JSON


@pytest.mark.parametrize(("cell", "written"), CASES["cells"])
def test_cells_are_no_formulas(cell, written):
    """What a spreadsheet would calculate is made text."""
    assert tables.harmless(cell) == written


typed = st.text(max_size=60) | st.sampled_from([case["text"] for case in CASES["hostile"]])


def report_of(text, **more):
    """Return a report of one row in which a text is wherever somebody may have typed it."""
    row = Row(
        account=ACCOUNT, region="us-east-1", vpc="vpc-1", group="sg-1", name=text, tags={text: text}, traffic=SSH,
        description=text, before="0.0.0.0/0", after=("198.18.7.0/24",), how=("modified",), state="closed", failure=text,
        exemption=Exemption("2026-05-05", text, text, text), exposure="internet", behind=(text,),
        clients=Clients(1, 1, "2026-05-01 10:02", (Caller(text, 1, text),)),
    )  # fmt: skip
    return Report("t", "m", "2026-05-04T10:02:00Z", ("p",), (row, *more.pop("rows", ())), **more)


@given(typed | st.text('x;, "=+', max_size=20))
def test_csv_and_json_hold_what_was_typed(text):
    """CSV and JSON can be read again, hold each text as it is shown, and no cell is a formula, also with semicolons."""
    report = report_of(text)
    head, cells = csv.reader(io.StringIO(tables.as_csv(report), newline=""))
    read = dict(zip(head, cells, strict=True))
    assert read["name"] == tables.harmless(visible(text))
    assert not any(cell.lstrip().startswith(tuple(tables.FORMULA)) for cell in cells)
    assert all(cell.isprintable() for cell in cells)
    in_excel = csv.reader(io.StringIO(tables.as_csv(report), newline=""), delimiter=";")
    assert not any(cell.lstrip().startswith(tuple(tables.FORMULA)) for line in in_excel for cell in line)
    (row,) = json.loads(tables.as_json(report))["rows"]
    assert (row["name"], row["tags"], row["behind"]) == (text, {text: text}, [text])
    assert row["callers"] == [{"source": text, "bytes": 1, "last_seen": text}]
    assert (row["until"], row["exempt_because"], row["owner"], row["ticket"]) == ("2026-05-05", text, text, text)


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

    def open_page(report, address="", **window):
        url = write(report, tmp_path).as_uri()
        windows.append(chromium.new_context(**{"viewport": {"width": 1280, "height": 900}, **window}))
        page = windows[-1].new_page()
        page.on("dialog", lambda dialog: (unwanted.append(f"dialog {dialog.message}"), dialog.dismiss()))
        page.on("console", lambda said: unwanted.append(f"console {said.text}"))
        page.on("pageerror", lambda error: unwanted.append(f"error {error}"))
        page.on(
            "request", lambda asked: None if asked.url.split("#")[0] == url else unwanted.append(f"request {asked.url}")
        )
        page.on(
            "framenavigated",
            lambda frame: None if frame.url.split("#")[0] == url else unwanted.append(f"frame {frame.url}"),
        )
        page.goto(url + address)
        return page

    yield open_page
    for window in windows:
        window.close()
    assert unwanted == []


def many(number, **changes):
    """Return a report of many rows, whose groups are named by turns."""
    made = [
        Row(
            account=ACCOUNT, region="us-east-1", vpc="vpc-1", group=f"sg-{each}", name=f"group {each}",
            tags={"owner": f"team-{each % 3}"}, description="",
            traffic=(SSH, Traffic("tcp", 443, 443), WIDE)[each % 3], before=("0.0.0.0/0", "::/0")[each % 2],
            after=("198.18.7.0/24",), how=("modified",),
            state=("closed", "not closed")[each % 5 == 0],
        )
        for each in range(number)
    ]  # fmt: skip
    return Report("t", "m", "2026-05-04T10:02:00Z", ("p",), worst_first(made), **changes)


def rehearsed(facts):
    """Return the report of the sample, one of whose groups failed."""
    groups = [group | {"OwnerId": ACCOUNT} for group in sample_groups.sample(NOW.date())]
    failures = ["sg-0e91b5c3a7d402f68 (bastion): no permission", "a message did not arrive"]
    done = [
        record(1, "tcp", "22", "0.0.0.0/0", "198.18.7.0/24", "modified")
        | {"group": "sg-0c6a2e9d7b4f15830", "group_name": "launch-wizard-1"}
    ]
    known = known_of if facts else lambda _: {}
    window = Window(203, "2026-05-01 10:00", "2026-05-01 11:58") if facts else None
    where = {"account": ACCOUNT, "region": "us-east-1", "now": NOW}
    return of_rehearsal(groups, done, failures, **where, known=known, window=window)


def shown(page):
    """Return the names of the groups in the rows that are shown, in order."""
    return texts_of(page.locator("tbody tr:not([hidden]) .name"))


def texts_of(elements):
    """Return the texts of elements, also those that a browser has not rendered yet."""
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
        assert texts_of(row.locator("bdi")).count(text) == 10
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
    places = (
        Place("lab", "210987654321", "us-east-1", "", Counter(), "no output"),
        Place("shop", ACCOUNT, "us-east-1", "2026-05-04T10:02:00Z", Counter(closed=2, exempt=1), None),
    )
    page = opened(replace(rehearsed(facts), places=places if facts else ()), **windows[window])
    found = Axe().run(page)
    assert [(each["id"], [node["html"] for node in each["nodes"]]) for each in found.response["violations"]] == []
    assert len(found.response["passes"]) > 20


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_nothing_is_wider_than_the_window(opened, width):
    """No window has to be scrolled sideways, however long the words are."""
    report = rehearsed(facts=True)
    long_words = report_of("x" * 300).rows
    places = tuple(Place("lab", ACCOUNT, region, "", Counter(), "y" * 300) for region in ("us-east-1", "us-west-2"))
    page = opened(
        Report("t", "m", report.time, ("p",), (*report.rows, *long_words), failures=("y" * 300,), places=places),
        viewport={"width": width, "height": 900},
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_filters(opened):
    """Words, in whatever order, and choices leave the rows that fit all of them; reset brings all back."""
    page = opened(many(120))
    assert page.locator("[data-status]").inner_text() == "120 rules in 120 groups"
    page.get_by_label("Search").fill("TEAM-0 sg-1")
    page.locator("[data-status]", has_text=" of ").wait_for()
    expected = [each for each in range(120) if each % 3 == 0 and str(each).startswith("1")]
    assert sorted(shown(page)) == sorted(f"group {each}" for each in expected)
    page.get_by_role("combobox", name="State", exact=True).select_option("not closed")
    expected = [each for each in expected if each % 5 == 0]
    assert sorted(shown(page)) == sorted(f"group {each}" for each in expected)
    count = len(expected)
    assert page.locator("[data-status]").inner_text() == f"{count} of 120 rules in {count} group{'s' * (count != 1)}"
    page.get_by_label("Search").fill("nothing like it")
    page.get_by_text("No rule matches.").wait_for()
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


def test_a_filtered_view_has_an_address(opened):
    """The page's address holds what is chosen, and another person who opens it sees the same rows in the same order."""
    page = opened(many(120))
    page.get_by_label("Search").fill("team-0")
    page.get_by_role("combobox", name="State", exact=True).select_option("not closed")
    head = page.get_by_role("columnheader", name="Security group").get_by_role("button")
    head.click()
    head.click()
    address = page.evaluate("location.hash")
    assert address == "#state=not+closed&search=team-0&down=name"
    again = opened(many(120), address)
    assert shown(again) == shown(page) == [f"group {each}" for each in range(119, -1, -1) if each % 15 == 0]
    assert again.get_by_label("Search").input_value() == "team-0"
    again.get_by_role("button", name="Reset").click()
    assert again.evaluate("location.hash") == ""
    assert len(shown(again)) == 120


def test_an_address_with_two_slashes(chromium, tmp_path):
    """Where a server's path begins with two slashes, the address holds what is chosen as well."""
    html, url = write(many(120), tmp_path).read_text(encoding="utf-8"), "http://server.invalid//report.html"
    page = chromium.new_page()
    page.route("**/*", lambda route: route.fulfill(body=html, content_type="text/html"))
    page.goto(url)
    page.get_by_role("combobox", name="State", exact=True).select_option("not closed")
    assert page.url == f"{url}#state=not+closed"
    page.close()


def test_an_address_of_nothing(opened):
    """An address with values that the page does not have shows all rows."""
    page = opened(many(5), "#state=gone&up=toString&nothing=1")
    assert len(shown(page)) == 5


def test_a_phone_shows_a_few_lines_of_each_rule(opened):
    """On a phone each rule is a card of a few lines, and opens by itself; so the page is short."""
    page = opened(rehearsed(facts=True), viewport={"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollHeight") < 5000
    row = page.locator("tr", has_text="launch-wizard-1").filter(has_text="TCP 22")
    assert not row.get_by_text("sg-0c6a2e9d7b4f15830").is_visible()
    row.get_by_role("checkbox", name="Details of sg-0c6a2e9d7b4f15830, TCP 22 (SSH)").check()
    assert row.get_by_text("sg-0c6a2e9d7b4f15830").is_visible()
    assert row.get_by_text("198.51.100.0/29").is_visible()
    assert page.get_by_text("sg-0e91b5c3a7d402f68").first.is_hidden()


def test_the_headline_comes_first_and_the_charts_come_last(opened):
    """The headline comes first, then what time the flow logs are of, the table, and the charts."""
    page = opened(rehearsed(facts=True))
    assert page.get_by_role("heading", level=1).inner_text() == "3 of 4 rules would block clients"
    places = [
        page.locator(each).bounding_box()["y"] for each in ("h1", "header :text('203 flow log')", ".rules", ".charts")
    ]
    assert places == sorted(places)
    assert places[2] < 450


@pytest.mark.parametrize("case", named("headlines"))
def test_headline(case):
    """The headline and the sentence below it say what matters most in a report."""
    made = [
        replace(many(1).rows[0], group=f"sg-{number}", state=state, clients=blocked and Clients(**blocked))
        for number, (state, blocked) in enumerate(case["rows"])
    ]
    places = tuple(Place("", ACCOUNT, "us-east-1", "t", Counter(exempt=each), None) for each in case.get("exempt", ()))
    report = Report("t", "m", "2026-05-04T10:02:00Z", ("p",), tuple(made), places=places, **case.get("report", {}))
    assert [report.headline, report.lead] == case["says"]


def test_prints(opened):
    """On paper there are no filters, rows are whole with all details, and what was filtered out stays away, counted."""
    page = opened(many(120))
    page.get_by_role("combobox", name="State", exact=True).select_option("not closed")
    page.emulate_media(media="print")
    assert page.locator(".filters").is_hidden()
    assert page.locator("[data-status]:visible").inner_text() == "24 of 120 rules in 24 groups"
    style = "(each, name) => getComputedStyle(each)[name]"
    assert page.locator("thead").evaluate(style, "display") == "table-header-group"
    assert page.locator("tbody tr").first.evaluate(style, "breakInside") == "avoid"
    assert page.locator("tbody").first.evaluate(style, "contentVisibility") == "visible"
    assert len(shown(page)) == 24
    assert page.locator("tbody tr:visible").count() == 24
    assert page.locator("tbody .more:visible").count() == page.locator("tbody .more").count()


def test_each_printed_page_has_the_head(opened):
    """Each page with rules begins with the table's head, the first one below the headline, and no rule is missing."""
    printed = [page.extract_text() for page in PdfReader(io.BytesIO(opened(many(60)).pdf())).pages]
    assert len(printed) > 3
    assert "12 of 60 open rules not closed" in printed[0]
    with_rules = [page for page in printed if re.search(r"group \d+", page)]
    assert [page.count("Security group") for page in with_rules] == [1] * len(with_rules)
    rules = re.findall(r"group (\d+)", "".join(printed))
    assert sorted(rules, key=int) == [str(number) for number in range(60)]


def test_charts_are_lists_of_numbers(opened):
    """Each chart is a list that says of each kind how many rules were open before and after; its bars show the same."""
    page = opened(many(120))
    chart = page.locator("figure", has_text="By what they let in, before → after")
    rows = [row.split("\n") for row in chart.locator("li").all_inner_texts()]
    assert [" ".join(row) for row in rows] == ["TCP 22 (SSH) 40 → 8", "TCP 8000-8010 40 → 8", "TCP 443 (HTTPS) 40 → 8"]
    widths = chart.locator("rect").evaluate_all("all => all.map(each => +each.getAttribute('width'))")
    assert widths == [100, 20] * 3


def test_callers_beyond_the_first_are_counted(opened):
    """Of the blocked clients, a row names three and counts the rest, and lists what would let them in."""
    page = opened(rehearsed(facts=True))
    row = page.locator("tr", has_text="launch-wizard-1").filter(has_text="TCP 22")
    cell = row.locator(".clients")
    assert texts_of(cell.locator("bdi")) == [f"198.51.100.{n}" for n in range(3)]
    assert cell.text_content().startswith("9 clients")
    assert all(text in cell.text_content() for text in ("1.2 MB", "and 6 more", "2 still let in", "3 scanners"))
    assert texts_of(row.locator(".suggested bdi")) == ["198.51.100.0/29", "198.51.100.9/32"]


def test_an_exemption_says_until_when_and_why(opened):
    """An exempt rule shows the day on which that ends and, from the register, the reason, the owner and the ticket."""
    register = parse_register(
        [{"group": "orders-*", "until": "2026-06-01", "reason": "<b>", "owner": "Jo", "ticket": "T"}]
    )
    web = {"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    group = {"GroupId": "sg-1", "GroupName": "orders-api", "OwnerId": ACCOUNT, "IpPermissions": [web]}
    report = of_rehearsal([group], [], [], account=ACCOUNT, region="us-east-1", now=NOW, exemptions=register)
    cell = opened(report).locator("td.state")
    assert texts_of(cell.locator("*:not(bdi)")) == ["exempt", "until 2026-06-01", "<b>", "owner: Jo", "ticket: T"]


def test_nothing_open(opened):
    """An account with nothing open gets a page that says so."""
    page = opened(Report("t", "m", "2026-05-04T10:02:00Z", ("p",), (), looked_at=1200))
    assert page.get_by_role("heading", level=1).inner_text() == "No open rule was found"
    assert "No rule in 1,200 security groups lets the internet in." in page.inner_text("header")
