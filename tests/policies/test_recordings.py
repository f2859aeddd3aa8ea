import json

import pytest

from tests.support.embedded import CASES_OF_OPEN_INGRESS, cases, group_of, load, make_queue, run, shipped

RECORDINGS = cases("recordings")
RECORDED = RECORDINGS["recorded"]
EVERYBODY = {"0.0.0.0/0", "::/0"}

HIGH_RISK = {20, 21, 22, 23, 25, 110, 135, 143, 445, 1433, 1434, 3000, 3306, 3389, 4333, 5000, 5432, 5500, 5601, 8080,
             8088, 8888, 9200, 9300}  # fmt: skip
"""Of EC2.19: https://docs.aws.amazon.com/securityhub/latest/userguide/ec2-controls.html#ec2-19."""

ADMINISTRATION = {22, 3389}
"""Of CIS AWS Foundations 5.0.0, 5.3 and 5.4, which Security Hub lists as EC2.53 and EC2.54 (the same page)."""

COMMON = {20, 21, 3306, 3389, 4333}
"""The default of restricted-common-ports."""


# ---- The controls, as AWS's documentation has them. None of them knows of this pack.


def everybody(permission, families=EVERYBODY):
    """Whether all addresses of a family may come in."""
    ranges = permission.get("IpRanges", []) + permission.get("Ipv6Ranges", [])
    return bool({each.get("CidrIp") or each["CidrIpv6"] for each in ranges} & families)


def reaches(permission, wanted, protocols=("tcp", "udp", "6", "17")):
    """Whether any of some ports is let in. All traffic has no ports, and lets in all of them."""
    if permission["IpProtocol"] == "-1":
        return True
    if permission["IpProtocol"] not in protocols:
        return False
    return any(permission["FromPort"] <= port <= permission["ToPort"] for port in wanted)


def ec2_18(ingress, authorized):
    """EC2.18, VPC_SG_OPEN_ONLY_TO_AUTHORIZED_PORTS: everybody may come in, and not to authorized TCP ports alone.

    https://docs.aws.amazon.com/config/latest/developerguide/vpc-sg-open-only-to-authorized-ports.html
    """
    return any(
        everybody(permission)
        and not (
            permission["IpProtocol"] in ("tcp", "6")
            and set(range(permission["FromPort"], permission["ToPort"] + 1)) <= set(authorized)
        )
        for permission in ingress
    )


def ec2_19(ingress):
    """EC2.19: everybody may come in to a port of high risk."""
    return any(everybody(permission) and reaches(permission, HIGH_RISK) for permission in ingress)


def cis_5_3(ingress):
    """CIS 5.3: all of IPv4 may come in to administer a server."""
    return any(everybody(each, {"0.0.0.0/0"}) and reaches(each, ADMINISTRATION) for each in ingress)


def cis_5_4(ingress):
    """CIS 5.4: all of IPv6 may come in to administer a server."""
    return any(everybody(each, {"::/0"}) and reaches(each, ADMINISTRATION) for each in ingress)


def restricted_common_ports(ingress):
    """Whether everybody may come in to a common port by TCP: restricted-common-ports, RESTRICTED_INCOMING_TRAFFIC.

    https://docs.aws.amazon.com/config/latest/developerguide/restricted-common-ports.html
    """
    return any(everybody(each) and reaches(each, COMMON, ("tcp", "6")) for each in ingress)


def restricted_ssh(ingress):
    """Whether everybody may come in by SSH: restricted-ssh, INCOMING_SSH_DISABLED.

    https://docs.aws.amazon.com/config/latest/developerguide/restricted-ssh.html
    """
    return any(everybody(each) and reaches(each, {22}, ("tcp", "6")) for each in ingress)


NARROWER = {
    "EC2.19": ec2_19,
    "CIS 5.3": cis_5_3,
    "CIS 5.4": cis_5_4,
    "restricted-common-ports": restricted_common_ports,
    "restricted-ssh": restricted_ssh,
}


# ---- Where the pack and the controls part: what tests/cases/recordings.yml explains, and when it holds

DIFFERENCES = RECORDINGS["differences"]
REASONS = {
    "a part of the internet": lambda _case, ingress: not any(map(everybody, ingress)),
    "exempt": lambda case, _ingress: "open-ingress-until" in case.get("tags", {}),
}


# ---- The pack, by the command that people run


@pytest.fixture(params=[(), (80, 443)], ids=["closed", "a public website"])
def judged(request, cloud, tmp_path):
    """Return the public ports, and which of the recorded groups the sweep finds with them, by their places."""
    groups = [
        {**group_of({"name": f"recorded {number}", "ingress": []}, number), "IpPermissions": each["ingress"]}
        for number, each in enumerate(RECORDED)
    ]
    load(groups)
    make_queue(cloud)
    policy = shipped("open-ingress-sweep", tmp_path, ["198.18.7.0/24", "2001:2:0:7::/64"], public_ports=request.param)
    result = run(cloud, policy, tmp_path / "out", "--dryrun")
    assert result.returncode == 0, result.stderr
    found = json.loads((tmp_path / "out" / "open-ingress-sweep" / "resources.json").read_text())
    places = {group["GroupId"]: number for number, group in enumerate(groups)}
    return request.param, {places[group["GroupId"]] for group in found}


def test_ec2_18(judged):
    """The pack finds those of the recorded groups that fail EC2.18 with the same ports, and no others."""
    public_ports, found = judged
    failing = {number for number, group in enumerate(RECORDED) if ec2_18(group["ingress"], public_ports)}
    assert 0 < len(failing) < len(RECORDED)
    assert {RECORDED[number]["group"] for number in found ^ failing} == set()


@pytest.mark.parametrize("control", [name for name in NARROWER if name != "CIS 5.4"])  # no recording has IPv6
def test_the_narrower_controls(judged, control):
    """Each recorded group that fails a narrower control is found, whether or not a website may be public."""
    _, found = judged
    failing = {number for number, group in enumerate(RECORDED) if NARROWER[control](group["ingress"])}
    assert failing
    assert failing <= found


# ---- The pack's own cases, by the verdicts that other tests hold it to. The recordings have no IPv6


@pytest.mark.parametrize(
    ("case", "group"), CASES_OF_OPEN_INGRESS, ids=[case["name"] for case, _ in CASES_OF_OPEN_INGRESS]
)
def test_the_cases(case, group):
    """On each of the pack's cases, it and the controls agree, or part for one of the reasons that are known."""
    ingress, public_ports = group["IpPermissions"], case.get("public-ports", [])
    found, failing = case["verdict"] == "NON_COMPLIANT", ec2_18(ingress, public_ports)
    narrower = any(control(ingress) for control in NARROWER.values())
    assert failing or not narrower, "EC2.18 is the strictest of them"
    reasons = {name for name, holds in REASONS.items() if holds(case, ingress)} & DIFFERENCES.keys()
    if found is not failing:
        assert reasons & {"a part of the internet" if found else "exempt"}


def test_every_difference_is_one():
    """Each reason that is listed parts the pack from the controls in one of its cases at least, and is explained."""
    assert DIFFERENCES.keys() == REASONS.keys()
    assert all(DIFFERENCES.values())
    for name, holds in REASONS.items():
        assert any(
            holds(case, group["IpPermissions"])
            and (case["verdict"] == "NON_COMPLIANT") is not ec2_18(group["IpPermissions"], case.get("public-ports", []))
            for case, group in CASES_OF_OPEN_INGRESS
        ), name
