import pytest
import yaml
from embedded import (
    POLICIES,
    cases,
    custodian,
    edited,
    group_of,
    load,
    made_changes,
    make_queue,
    records,
    rules_of,
    run,
    source_of,
)
from embedded import permission as permission_of

SEVERITIES = {"low", "medium", "high", "critical"}
CASES = cases("open-ingress")
GROUPS = [group_of(case, number) for number, case in enumerate(CASES["groups"], 1)]
ALL = list(zip(CASES["groups"], GROUPS, strict=True))
PORTS = {"closed": (), "a public website": (80, 443)}

policies = pytest.mark.parametrize("path", POLICIES, ids=lambda path: path.stem)


def policy_in(path):
    """Read the one policy of a file."""
    (policy,) = yaml.safe_load(path.read_text())["policies"]
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
def test_a_policy_is_valid_as_shipped(path, cloud):
    """`custodian validate` takes the shipped file, and warns that its networks are examples."""
    result = custodian(cloud, "validate", path)
    assert result.returncode == 0, result.stderr
    assert "203.0.113.0/24 is an example from the documentation" in result.stderr


def test_the_policies_differ_in_mode_alone():
    """What is wrong and what is done about it is the same in all of the open-ingress policies."""
    alike = [{key: policy_in(path)[key] for key in ("resource", "filters", "actions", "metadata")} for path in POLICIES]
    assert all(each == alike[0] for each in alike)


def test_both_verdicts_are_among_the_cases():
    """There are at least thirty cases, of what is open and of what is not."""
    verdicts = [case["verdict"] for case in CASES["groups"]]
    assert len(verdicts) >= 30
    assert set(verdicts) == {"COMPLIANT", "NON_COMPLIANT"}


def shape(rule):
    """Give what a rule lets in, and how it is described, without its id."""
    ports = (rule.get("FromPort", -1), rule.get("ToPort", -1))
    return rule["IpProtocol"], *ports, source_of(rule), rule.get("Description")


def wanted_shape(rule):
    """Give the same of a case's rule, as EC2 tells of it."""
    permission = permission_of(rule)
    protocol = {"58": "icmpv6"}.get(permission["IpProtocol"], permission["IpProtocol"])
    ports = (permission.get("FromPort", -1), permission.get("ToPort", -1))
    return protocol, *ports, rule["source"], rule.get("description")


def check(case, before, after):
    """Compare a group's rules, by id, with what its case says of them."""
    wanted, gone = case.get("afterwards"), case.get("gone", [])
    if wanted is None:
        assert after == before
        return
    assert {rule["was"] for rule in wanted if "was" in rule} <= {source_of(rule) for rule in before.values()}
    of_same_traffic = lambda rule, other: (rule["IpProtocol"], rule["FromPort"]) == (other[0], other[1])  # noqa: E731 - shorter so
    for rule_id, rule in before.items():
        source = source_of(rule)
        if source in gone:
            assert rule_id not in after
            continue
        replaced = [
            r for r in map(wanted_shape, (w for w in wanted if w.get("was") == source)) if of_same_traffic(rule, r)
        ]
        if replaced:
            assert shape(after[rule_id]) == replaced[0], "the rule was to live on as another"
            assert after[rule_id]["Tags"] == rule["Tags"]
        else:
            assert after[rule_id] == rule, "the rule was to stay as it is"
    new = sorted(shape(rule) for rule_id, rule in after.items() if rule_id not in before)
    assert new == sorted(wanted_shape(rule) for rule in wanted if "was" not in rule)


@pytest.mark.parametrize("public_ports", PORTS.values(), ids=PORTS)
def test_sweep(cloud, tmp_path, public_ports):
    """`custodian run` replaces each open rule as its case says, touches nothing else, and has nothing to do again."""
    chosen = [(case, group) for case, group in ALL if case.get("public-ports", []) == list(public_ports)]
    load(group for _, group in chosen)
    make_queue(cloud)
    before = {group["GroupId"]: rules_of(cloud, group["GroupId"]) for _, group in chosen}
    policy = edited("open-ingress-sweep", tmp_path, CASES["authorized"], public_ports)

    result = run(cloud, policy, tmp_path)

    assert result.returncode == 0, result.stderr
    changed = {record["group"] for record in records(result.stderr)}
    assert changed == {group["GroupId"] for case, group in chosen if case["verdict"] == "NON_COMPLIANT"}
    for case, group in chosen:
        check(case, before[group["GroupId"]], rules_of(cloud, group["GroupId"]))

    cloud.calls.clear()
    assert run(cloud, policy, tmp_path).returncode == 0
    assert made_changes(cloud) == []
