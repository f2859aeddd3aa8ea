import re

import pytest
from c7n.utils import yaml_load

from c7n_ingress.decide.settings import KEYS, OF_AN_UNDO
from tests.support.embedded import (
    CASES_OF_OPEN_INGRESS,
    POLICIES,
    cases,
    check,
    custodian,
    load,
    made_changes,
    make_queue,
    policy_named,
    records,
    rules_of,
    run,
    shipped,
)

SEVERITIES = {"low", "medium", "high", "critical"}
AUTHORIZED = cases("open-ingress")["authorized"]
PORTS = {"closed": (), "a public website": (80, 443)}

AT_ONCE = ["open-ingress", "open-ingress-cloudtrail", "open-ingress-daily", "open-ingress-sweep"]
AFTER_NOTICE = ["open-ingress-notice", "open-ingress-noticed"]

FILES = {
    "open-ingress": ["open-ingress", "open-ingress-cloudtrail", "open-ingress-daily", "open-ingress-exempt"],
    "open-ingress-notice": ["open-ingress-notice", "open-ingress-noticed", "open-ingress-mended"],
    "open-ingress-sweep": ["open-ingress-sweep"],
    "restore-ingress": ["restore-ingress"],
}
NAMES = [name for names in FILES.values() for name in names]
AT_HAND = ["open-ingress-sweep", "restore-ingress"]

files = pytest.mark.parametrize("path", POLICIES, ids=lambda path: path.stem)
policies = pytest.mark.parametrize("name", NAMES)


@files
def test_a_file_has_what_runs_together(path):
    """A file has the policies that are deployed together, and what changes groups at once has a file of its own."""
    found = yaml_load(path.read_text())["policies"]
    assert [policy["name"] for policy in found] == FILES[path.stem]
    assert ["mode" in policy for policy in found] == [policy["name"] not in AT_HAND for policy in found]


@policies
def test_a_policy_says_what_it_is_for(name):
    """Title, severity from a fixed list, category, risk, remediation, url and controls are all there."""
    metadata = policy_named(name)["metadata"]
    assert set(metadata) == {"title", "severity", "category", "risk", "remediation", "url", "controls"}
    assert metadata["severity"] in SEVERITIES
    assert all(metadata.values())


@policies
def test_no_policy_depends_on_what_was_listed_before(name):
    """Every policy reads the groups from EC2, past c7n's cache."""
    assert policy_named(name)["source"] == "live"


@files
def test_a_policy_is_valid_without_settings(path, cloud):
    """`custodian validate` takes each file of the pack, and warns of nothing."""
    result = custodian(cloud, "validate", path)
    assert result.returncode == 0, result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def texts(value):
    """Yield each text in a value, however deep it is."""
    if isinstance(value, str):
        yield value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from texts(part)


@files
def test_a_policy_holds_no_facts_of_the_users(path):
    """Networks, recipients, ports and limits are variables of settings.yml, of c7n, or of an undo."""
    found = list(texts(yaml_load(path.read_text())))
    variables = {name for text in found for name in re.findall(r"\{([\w-]+)\}", text)}
    assert variables <= {*KEYS, *OF_AN_UNDO, "account_id", "region", "partition", "op", "action_date"}
    assert not [text for text in found if re.search(r"\d+\.\d+\.\d+\.\d+|::|@[a-z]+\.|:sns:", text)]


def test_every_setting_is_used():
    """Some policy names each key of settings.yml."""
    used = " ".join(path.read_text() for path in POLICIES)
    assert [key for key in KEYS if f"{{{key}}}" not in used] == []


def parts(name, *keys):
    """Return what a policy of the pack has under some keys."""
    policy = policy_named(name)
    return {key: policy[key] for key in keys}


@pytest.mark.parametrize("name", AT_ONCE)
def test_the_policies_differ_in_mode_alone(name):
    """What is wrong and what is done about it is the same in all of the policies that close at once.

    A sweep by hand does not look up which groups are opened repeatedly, and may preview or do what a preview wrote.
    """
    keys = ("resource", "source", "filters", "metadata")
    assert parts(name, *keys) == parts("open-ingress", *keys)
    (action,), (wanted,) = (parts(each, "actions")["actions"] for each in (name, "open-ingress"))
    if name == "open-ingress-sweep":
        del wanted["reopened"]
        wanted |= {"preview": "{preview}", "only": "{only}"}
    assert action == wanted


def test_notice_is_given_of_the_same():
    """What is wrong is the same where people get notice, and what is no longer wrong is just the opposite."""
    wrong = parts("open-ingress", "filters")["filters"]
    for name in AFTER_NOTICE:
        assert parts(name, "filters")["filters"][-len(wrong) :] == wrong
    assert parts("open-ingress-mended", "filters")["filters"][-1] == {"not": wrong}


def test_what_is_done_after_notice():
    """Groups are closed as they are without notice, and reported before as they are by a preview."""
    (close,) = parts("open-ingress", "actions")["actions"]
    (close_all,) = parts("open-ingress-daily", "actions")["actions"]
    notice, noticed = (parts(name, "actions")["actions"] for name in AFTER_NOTICE)
    assert noticed == [{**close_all, "untag": "open-ingress-notice"}]
    subject = notice[0]["notify"].pop("subject")
    assert notice[0] == {
        **{key: value for key, value in close.items() if key not in ("reopened", "at-most")},
        "preview": True,
    }
    assert "closed" in subject


def test_both_verdicts_are_among_the_cases():
    """There are at least thirty cases, of what is open and of what is not."""
    verdicts = [case["verdict"] for case, _ in CASES_OF_OPEN_INGRESS]
    assert len(verdicts) >= 30
    assert set(verdicts) == {"COMPLIANT", "NON_COMPLIANT"}


@pytest.mark.parametrize("public_ports", PORTS.values(), ids=PORTS)
def test_sweep(cloud, tmp_path, public_ports):
    """`custodian run` replaces each open rule as its case says, touches nothing else, and has nothing to do again."""
    chosen = [
        (case, group) for case, group in CASES_OF_OPEN_INGRESS if case.get("public-ports", []) == list(public_ports)
    ]
    load(group for _, group in chosen)
    make_queue(cloud)
    before = {group["GroupId"]: rules_of(group["GroupId"]) for _, group in chosen}
    policy = shipped("open-ingress-sweep", tmp_path, AUTHORIZED, public_ports=public_ports)

    result = run(cloud, policy, tmp_path)

    assert result.returncode == 0, result.stderr
    changed = {
        record["group"] for record in records((tmp_path / "open-ingress-sweep" / "custodian-run.log").read_text())
    }
    assert changed == {group["GroupId"] for case, group in chosen if case["verdict"] == "NON_COMPLIANT"}
    for case, group in chosen:
        check(case, before[group["GroupId"]], rules_of(group["GroupId"]))

    cloud.calls.clear()
    assert run(cloud, policy, tmp_path).returncode == 0
    assert made_changes(cloud) == []
