import pytest
from c7n.utils import yaml_load

from tests.support.embedded import (
    CASES_OF_OPEN_INGRESS,
    POLICIES,
    ROOT,
    cases,
    check,
    custodian,
    edited,
    load,
    made_changes,
    make_queue,
    records,
    rules_of,
    run,
)

SEVERITIES = {"low", "medium", "high", "critical"}
AUTHORIZED = cases("open-ingress")["authorized"]
PORTS = {"closed": (), "a public website": (80, 443)}

AT_ONCE = ["open-ingress", "open-ingress-cloudtrail", "open-ingress-daily", "open-ingress-sweep"]
ALL_GROUPS = ["open-ingress-daily", "open-ingress-sweep"]
AFTER_NOTICE = ["open-ingress-notice", "open-ingress-noticed"]

policies = pytest.mark.parametrize("path", POLICIES, ids=lambda path: path.stem)


def policy_in(path):
    """Read the one policy of a file."""
    (policy,) = yaml_load(path.read_text())["policies"]
    return policy


@policies
def test_a_policy_has_its_files_name(path):
    """The file's name is the policy's name."""
    assert policy_in(path)["name"] == path.stem


@policies
def test_a_policy_says_what_it_is_for(path):
    """Title, severity from a fixed list, category, risk, remediation, url and controls are all there."""
    metadata = policy_in(path)["metadata"]
    assert set(metadata) == {"title", "severity", "category", "risk", "remediation", "url", "controls"}
    assert metadata["severity"] in SEVERITIES
    assert all(metadata.values())


@policies
def test_no_policy_depends_on_what_was_listed_before(path):
    """Every policy reads the groups from EC2, past c7n's cache."""
    assert policy_in(path)["source"] == "live"


@policies
def test_a_policy_is_valid_as_shipped(path, cloud):
    """`custodian validate` takes the shipped file, and warns that its networks, if it has any, are examples."""
    result = custodian(cloud, "validate", path)
    assert result.returncode == 0, result.stderr
    examples = "authorized: &authorized" in path.read_text()
    assert ("203.0.113.0/24 is an example from the documentation" in result.stderr) is examples


def shipped(name, *keys):
    """Give what a shipped policy says under some keys."""
    policy = policy_in(ROOT / "policies" / f"{name}.yml")
    return {key: policy[key] for key in keys}


@pytest.mark.parametrize("name", AT_ONCE)
def test_the_policies_differ_in_mode_alone(name):
    """What is wrong and what is done about it is the same in all of the policies that close at once.

    Those that look at all groups close no more at a time than somebody can look at; a sweep by hand does not look up
    which of them are opened again and again.
    """
    keys = ("resource", "source", "filters", "metadata")
    assert shipped(name, *keys) == shipped("open-ingress", *keys)
    (action,) = shipped(name, "actions")["actions"]
    assert action.pop("at-most", None) == (50 if name in ALL_GROUPS else None)
    (wanted,) = shipped("open-ingress", "actions")["actions"]
    if name == "open-ingress-sweep":
        del wanted["reopened"]
    assert action == wanted


def test_notice_is_given_of_the_same():
    """What is wrong is the same where people get notice, and what is no longer wrong is just the opposite."""
    wrong = shipped("open-ingress", "filters")["filters"]
    for name in AFTER_NOTICE:
        assert shipped(name, "filters")["filters"][-len(wrong) :] == wrong
    assert shipped("open-ingress-mended", "filters")["filters"][-1] == {"not": wrong}


def test_what_is_done_after_notice():
    """Groups are closed as they are without notice, and told of before as they are by a preview."""
    (close,) = shipped("open-ingress", "actions")["actions"]
    (close_all,) = shipped("open-ingress-daily", "actions")["actions"]
    notice, noticed = (shipped(name, "actions")["actions"] for name in AFTER_NOTICE)
    assert noticed == [{**close_all, "untag": "open-ingress-notice"}]
    subject = notice[0]["notify"].pop("subject")
    assert notice[0] == {**{key: value for key, value in close.items() if key != "reopened"}, "preview": True}
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
    policy = edited("open-ingress-sweep", tmp_path, AUTHORIZED, public_ports)

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
