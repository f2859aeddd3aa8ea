"""Prowler's own checks, before and after a sweep. They share no code with this pack."""

import json
import subprocess
import sys
from typing import NamedTuple

import pytest

from c7n_ingress_tools.embedded_aws.ec2 import load_interfaces
from tests.support.embedded import CASES_OF_OPEN_INGRESS, ROOT, cases, group_of, load, make_queue, run, shipped

pytestmark = pytest.mark.skipif(sys.version_info >= (3, 14), reason="Prowler is not packaged for Python 3.14")

AUTHORIZED = ["198.18.7.0/24", "198.18.8.0/24", "2001:2:0:7::/64"]
PYTHON = ROOT / ".venv" / "judges" / "prowler" / "bin" / "python"
CHECKS = ROOT / "tests" / "judges" / "run_prowler.py"
ANY_ADDRESS = "any_port_from_ip"
"""The check that fails for each address of the internet, and so for an office, too."""

EVERYBODY = {"0.0.0.0/0", "::/0"}
PORTS = [21, 22, 23, 1433, 1521, 3306, 3389, 5432, 6379, 7199, 9092, 9200, 11211, 27017]
"""One port of each check that has ports."""

ONE_PORT_EACH = [
    {"name": f"port {port}", "ingress": [{"protocol": "tcp", "ports": port, "source": "0.0.0.0/0"}]} for port in PORTS
]
RECORDED = [each["ingress"] for each in cases("recordings")["recorded"]]


class Sweep(NamedTuple):
    """What Prowler and the pack say, as names of groups."""

    checks: set
    failing: dict
    """The groups that fail, by check, before the sweep."""
    closed: set
    failing_after: dict


@pytest.fixture(scope="module")
def groups():
    """Return the pack's cases, what AWS described to c7n's tests, and a group for each port, by name."""
    shapes = [
        *(group_of(case, number) for number, case in enumerate([case for case, _ in CASES_OF_OPEN_INGRESS])),
        *(group_of({"name": f"recorded {number}", "ingress": []}, 1000 + number) for number in range(len(RECORDED))),
        *(group_of(case, 2000 + number) for number, case in enumerate(ONE_PORT_EACH)),
    ]
    ingress = {f"recorded {number}": ingress for number, ingress in enumerate(RECORDED)}
    return {
        each["GroupName"]: each | {"IpPermissions": ingress.get(each["GroupName"], each["IpPermissions"])}
        for each in shapes
    }


@pytest.fixture(scope="module")
def sweep(embedded_aws, groups, tmp_path_factory):
    """Run Prowler, the sweep that people run, and Prowler again, on groups that an instance uses."""
    folder = tmp_path_factory.mktemp("sweep")
    embedded_aws.reset()
    load(groups.values())
    load_interfaces(map(interface_of, groups.values()))
    make_queue(embedded_aws)
    names = {group["GroupId"]: name for name, group in groups.items()}
    checks, failing = judged(embedded_aws, folder, names)
    policy = shipped("open-ingress-sweep", folder, AUTHORIZED, at_most=len(groups))
    result = run(embedded_aws, policy, folder / "out")
    assert result.returncode == 0, result.stderr
    closed = json.loads((folder / "out" / "open-ingress-sweep" / "resources.json").read_text())
    _, after = judged(embedded_aws, folder, names)
    return Sweep(checks, failing, {each["GroupName"] for each in closed}, after)


def interface_of(group):
    """Return an interface in a group: Prowler asks what uses a group."""
    number = group["GroupId"].removeprefix("sg-")
    return {
        "NetworkInterfaceId": f"eni-{number}",
        "InterfaceType": "interface",
        "Status": "in-use",
        "VpcId": group["VpcId"],
        "SubnetId": "subnet-0f00000000000001",
        "AvailabilityZone": "us-east-1a",
        "OwnerId": group["OwnerId"],
        "Groups": [{"GroupId": group["GroupId"], "GroupName": group["GroupName"]}],
        "Attachment": {"InstanceOwnerId": group["OwnerId"], "InstanceId": f"i-{number}", "Status": "attached"},
    }


def judged(cloud, folder, names):
    """Run Prowler, and return its checks, and the groups that fail each, without the check that is another one."""
    found = folder / "findings.json"
    command = [PYTHON, CHECKS, "us-east-1", found]
    done = subprocess.run(command, env=cloud.environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    findings = [each for each in json.loads(found.read_text()) if each[0] != ANY_ADDRESS]
    failing = {}
    for check, group_id, status in findings:
        if status == "FAIL":
            failing.setdefault(check, set()).add(names.get(group_id))
    return {check for check, _, _ in findings}, failing


def is_exempt(group):
    """Whether a group has the tag of an exemption."""
    return any(tag["Key"] == "open-ingress-until" for tag in group["Tags"])


def is_seen(permission):
    """Whether Prowler judges a permission: all addresses of a family may come in, to all or to ports."""
    ranges = permission.get("IpRanges", []) + permission.get("Ipv6Ranges", [])
    sources = {each.get("CidrIp") or each["CidrIpv6"] for each in ranges}
    return bool(sources & EVERYBODY) and (permission["IpProtocol"] == "-1" or "FromPort" in permission)


def test_before_and_after(sweep, groups):
    """Before the sweep, some groups fail each check. After it, only exempt groups fail one."""
    assert sweep.failing.keys() == sweep.checks
    left = set().union(*sweep.failing_after.values())
    assert left
    assert all(is_exempt(groups[name]) for name in left)


def test_the_same_groups(sweep, groups):
    """The pack closes what Prowler finds, exempt groups aside, and beyond that only what Prowler cannot see."""
    found = set().union(*sweep.failing.values())
    assert all(is_exempt(groups[name]) for name in found - sweep.closed)
    beyond = [groups[name] for name in sweep.closed - found]
    assert [group["GroupName"] for group in beyond if any(map(is_seen, group["IpPermissions"]))] == []
