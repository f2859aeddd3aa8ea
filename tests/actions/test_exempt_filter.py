"""The filter ``exempt``, through the stock command."""

import json
from pathlib import Path

import pytest

from tests.support.embedded import cases, day, group_of, load, made_changes, rules_of, run

CASES = cases("exempt")
GROUP_ID = "sg-00000000000000001"


def entry(one):
    """Return an entry of the register with its day."""
    return {**one, "until": day(one["until"])} if "until" in one else one


def group(rules, tags=None):
    """Return the group, open to the internet on these ports."""
    ingress = [
        {"protocol": protocol, "ports": ports, "source": "0.0.0.0/0"}
        for protocol, _, ports in (rule.partition("/") for rule in rules)
    ]
    return group_of({"name": "web", "ingress": ingress, "tags": tags or {}}, 1)


def policy(folder, exempt, *, first=False):
    """Write a policy that closes what is not exempt."""
    filters = [{"type": "open-ingress"}, {"type": "exempt", "value": False, **exempt}]
    filters = filters[::-1] if first else filters
    action = {"type": "replace-ingress", "authorized": ["198.18.7.0/24"]}
    data = {"name": "closing", "resource": "aws.security-group", "filters": filters, "actions": [action]}
    path = Path(folder) / "closing.json"
    path.write_text(json.dumps({"policies": [data]}))
    return path


def open_ports():
    """Return what the group lets the internet in on."""
    rules = [rule for rule in rules_of(GROUP_ID).values() if rule.get("CidrIpv4") == "0.0.0.0/0"]
    ports = lambda rule: "-".join(str(each) for each in dict.fromkeys([rule["FromPort"], rule["ToPort"]]))
    return {f"{rule['IpProtocol']}/{ports(rule)}" for rule in rules}


@pytest.mark.parametrize("case", CASES["closed"], ids=lambda case: case["name"])
def test_what_is_closed(cloud, tmp_path, case):
    """Exactly the rules are closed that neither the tag nor the register exempts."""
    load([group(case["open"], case.get("tags"))])
    register = {"exemptions": [entry(each) for each in case["exemptions"]]}
    done = run(cloud, policy(tmp_path, register), tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert open_ports() == set(case["open"]) - set(case["closed"])


def test_a_port_opened_later(cloud, tmp_path):
    """A register entry exempts its port alone: a port that is opened later in the same group is closed."""
    register = {"exemptions": [entry({"group": "web", "ports": [443], "until": "+30", "reason": "a public shop"})]}
    path = policy(tmp_path, register)
    load([group(["tcp/443"])])
    assert run(cloud, path, tmp_path / "out").returncode == 0
    assert made_changes(cloud) == []
    opened = {"IpProtocol": "tcp", "FromPort": 3389, "ToPort": 3389, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    cloud.session().client("ec2").authorize_security_group_ingress(GroupId=GROUP_ID, IpPermissions=[opened])
    assert run(cloud, path, tmp_path / "out").returncode == 0
    assert open_ports() == {"tcp/443"}


@pytest.mark.parametrize("case", CASES["refused"], ids=lambda case: case["name"])
def test_what_is_refused(cloud, tmp_path, case):
    """A bad register, or a place where there is nothing to narrow, is refused with one line, and nothing is changed."""
    load([group(["tcp/22"])])
    done = run(cloud, policy(tmp_path, case.get("filter", {}), first=case.get("first", False)), tmp_path / "out")
    assert done.returncode != 0
    assert case["says"] in done.stderr
    assert made_changes(cloud) == []


REGISTERS = {
    "a good entry": ([{"group": "web", "ports": [443], "until": "+30", "reason": "a shop"}], 0, {"tcp/443"}, ""),
    "a bad entry": (
        [{"group": "web", "ports": [443], "until": "soon", "reason": "a shop"}],
        2,
        {"tcp/443", "tcp/22"},
        "nothing was changed: exemptions-from s3://registers/exemptions.json: exemptions, entry 1: until 'soon' is ",
    ),
}


@pytest.mark.parametrize("name", REGISTERS)
def test_a_register_in_s3(cloud, tmp_path, name):
    """The register is read from S3; a bad entry there ends the run before anything is changed."""
    register, status, left, says = REGISTERS[name]
    s3 = cloud.session().client("s3")
    s3.create_bucket(Bucket="registers")
    body = json.dumps([entry(each) if each["until"].startswith("+") else each for each in register])
    s3.put_object(Bucket="registers", Key="exemptions.json", Body=body)
    load([group(["tcp/443", "tcp/22"])])
    source = {"exemptions-from": {"url": "s3://registers/exemptions.json"}}
    done = run(cloud, policy(tmp_path, source), tmp_path / "out")
    assert done.returncode == status, done.stderr
    assert says in done.stderr
    assert open_ports() == left
