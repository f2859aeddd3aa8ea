"""A preview's plan, approved and carried out."""

import json

import pytest
from c7n.exceptions import PolicyExecutionError

from c7n_ingress_tools.embedded_aws.ec2 import load_prefix_list
from tests.support.embedded import (
    NOTIFY,
    act,
    cases,
    custodian,
    day,
    group_of,
    load,
    made_changes,
    make_queue,
    messages,
    rules_of,
    run,
    source_of,
)

CASES = cases("approved")
GROUP_ID = "sg-00000000000000001"
AUTHORIZED = ["198.18.7.0/24", "198.18.8.0/24"]


def sweep(authorized=AUTHORIZED, exemptions=(), **action):
    """Return the filters of a sweep, and what its action does."""
    register = [{**each, "until": day(each["until"])} for each in exemptions]
    filters = [{"type": "open-ingress"}, {"type": "exempt", "value": False, "exemptions": register}]
    return {"filters": filters, "authorized": authorized, "notify": NOTIFY, **action}


def policy(folder, mode=None, **more):
    """Write a sweep as a policy of its own."""
    action = sweep(**more)
    data = {"name": "closing", "resource": "aws.security-group", "source": "live", "filters": action.pop("filters")}
    data |= {"actions": [{"type": "replace-ingress", **action}], **({"mode": mode} if mode else {})}
    path = folder / "closing.json"
    path.write_text(json.dumps({"policies": [data]}))
    return path


def rule(ports, source="0.0.0.0/0"):
    """Return a case's rule."""
    return {"protocol": "tcp", "ports": ports, "source": source}


def ids():
    """Return the ids of the rules that are open to all addresses, by port."""
    rules = rules_of(GROUP_ID).items()
    return {str(each["FromPort"]): rule_id for rule_id, each in rules if source_of(each) == "0.0.0.0/0"}


def sources():
    """Return the sources of each port."""
    found = {}
    for each in rules_of(GROUP_ID).values():
        found.setdefault(each["FromPort"], []).append(source_of(each))
    return {port: sorted(each) for port, each in found.items()}


def planned(cloud, folder):
    """Preview, and return the path of the plan."""
    act(cloud, folder, **sweep(preview=True))
    messages(cloud)
    return folder / "a-policy" / "plan.json"


def approve(path, ports):
    """Leave the changes of some ports in the plan."""
    plan = json.loads(path.read_text())
    plan["changes"] = [each for each in plan["changes"] if each["traffic"]["FromPort"] in ports]
    path.write_text(json.dumps(plan))


def happen(cloud, meanwhile):
    """Change the group as people do."""
    ec2 = cloud.session().client("ec2")
    for each in meanwhile:
        (kind, port), source = next(iter(each.items())), each.get("source", "0.0.0.0/0")
        ports = {"IpProtocol": "tcp", "FromPort": port, "ToPort": port}
        permission = [{**ports, "IpRanges": [{"CidrIp": source}]}]
        if kind == "open":
            ec2.authorize_security_group_ingress(GroupId=GROUP_ID, IpPermissions=permission)
        elif kind == "close":
            ec2.revoke_security_group_ingress(GroupId=GROUP_ID, IpPermissions=permission)
        else:
            change = {"SecurityGroupRuleId": ids()[str(port)], "SecurityGroupRule": {**ports, "CidrIpv4": source}}
            ec2.modify_security_group_rules(GroupId=GROUP_ID, SecurityGroupRules=[change])


def carry_out(cloud, folder, path, **more):
    """Carry out a plan, and return what the run's error says, or nothing if it succeeds."""
    try:
        act(cloud, folder, **sweep(only=str(path), **more))
    except PolicyExecutionError as error:
        return str(error)
    return ""


def approved(cloud, folder, case):
    """Preview a case's group, approve the plan, and carry it out; return the ids of the open rules, and the error."""
    make_queue(cloud)
    load([group_of({"name": "web", "ingress": [rule(**each) for each in case["before"]]}, 1)])
    known = ids()
    path = planned(cloud, folder)
    if "approve" in case:
        approve(path, case["approve"])
    happen(cloud, case.get("meanwhile", ()))
    more = {key: case[key] for key in ("authorized", "exemptions") if key in case}
    return known, carry_out(cloud, folder, path, **more)


def filled(text, known):
    """Fill the ids of rules into a case's text."""
    for port, rule_id in known.items():
        text = text.replace(f"{{{port}}}", rule_id)
    return text


@pytest.mark.parametrize("case", CASES["carried-out"], ids=lambda case: case["name"])
def test_what_is_carried_out(cloud, tmp_path, case):
    """Exactly the approved changes are made; what is open and not in the plan stays open, and is reported."""
    known, error = approved(cloud, tmp_path, case)
    assert error == ""
    assert sources() == case["afterwards"]
    left = [
        each for message in messages(cloud) for one in message["resources"] for each in one.get("c7n:left-ingress", ())
    ]
    reported = [filled(each, known) for each in case.get("reported", ())]
    assert len(left) == len(reported)
    assert all(wanted in each for wanted, each in zip(reported, left, strict=True))


@pytest.mark.parametrize("case", CASES["not-as-planned"], ids=lambda case: case["name"])
def test_what_is_not_as_planned(cloud, tmp_path, case):
    """What is not as it was planned is left alone and reported, and the run fails; the rest of the plan is done."""
    known, error = approved(cloud, tmp_path, case)
    assert sources() == case["afterwards"]
    assert filled(case["says"], known) in error


def test_the_plan(cloud, tmp_path):
    """A preview's plan has each open rule with what replaces it, and where and when it was made."""
    make_queue(cloud)
    load_prefix_list("pl-0a", ["0.0.0.0/0"])
    load([group_of({"name": "web", "ingress": [rule(22), rule(443, "::/0"), rule(8080, "pl-0a")]}, 1)])
    plan = json.loads(planned(cloud, tmp_path).read_text())
    changes = {each["traffic"]["FromPort"]: (each["before"], each["after"]) for each in plan["changes"]}
    assert changes == {22: ("0.0.0.0/0", AUTHORIZED), 443: ("::/0", []), 8080: ("pl-0a", AUTHORIZED)}
    assert {each["rule"] for each in plan["changes"]} == set(rules_of(GROUP_ID))
    assert {(each["group"], each["group_name"]) for each in plan["changes"]} == {(GROUP_ID, "web")}
    place = {key: plan[key] for key in ("v", "account", "region", "policy")}
    assert place == {"v": 1, "account": "123456789012", "region": "us-east-1", "policy": "a-policy"}
    assert carry_out(cloud, tmp_path, tmp_path / "a-policy" / "plan.json") == ""
    assert sources() == {22: AUTHORIZED, 8080: AUTHORIZED}


def test_a_plan_in_s3(cloud, tmp_path):
    """With a bucket as output, the plan is there, and is carried out from there; the address may name the account."""
    make_queue(cloud)
    cloud.session().client("s3").create_bucket(Bucket="plans")
    load([group_of({"name": "web", "ingress": [rule(22)]}, 1)])
    done = run(cloud, policy(tmp_path, preview=True), "s3://plans/{account_id}?region=us-east-1")
    assert done.returncode == 0, done.stderr
    only = "s3://plans/{account_id}/plan.json.gz"
    done = run(cloud, policy(tmp_path, only=only), tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert sources() == {22: AUTHORIZED}


def test_a_group_that_is_gone(cloud, tmp_path):
    """A group of the plan that is not open any more is reported, and the others are closed, more than at-most too."""
    make_queue(cloud)
    load([group_of({"name": f"web-{number}", "ingress": [rule(22)]}, number) for number in (1, 2, 3)])
    path = planned(cloud, tmp_path)
    ec2 = cloud.session().client("ec2")
    ec2.delete_security_group(GroupId=f"sg-{3:017x}")
    error = carry_out(cloud, tmp_path, path, **{"at-most": 1})
    assert f"sg-{3:017x}: not as planned: the group is not open any more, or was not read" in error
    for number in (1, 2):
        assert {source_of(each) for each in rules_of(f"sg-{number:017x}").values()} == set(AUTHORIZED)


@pytest.mark.parametrize("case", CASES["refused"], ids=lambda case: case["says"])
def test_a_bad_plan(cloud, tmp_path, case):
    """A plan that cannot be read, or is of another account or region, ends the run before anything is changed."""
    load([group_of({"name": "web", "ingress": [rule(22)]}, 1)])
    (tmp_path / "plan.json").write_text(case["plan"])
    assert case["says"] in carry_out(cloud, tmp_path, tmp_path / "plan.json")
    assert made_changes(cloud) == []


DEPLOYED = {"type": "periodic", "schedule": "rate(1 day)", "role": "custodian"}
REFUSED = {
    "a deployed policy": ({"mode": DEPLOYED, "only": "plan.json"}, "only: a plan is carried out once"),
    "an address that anyone on the way could write": (
        {"only": "http://example.com/plan.json"},
        "only 'http://example.com/plan.json': anyone on the way could write the list; use https or S3",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_validate_refuses(cloud, tmp_path, name):
    """A plan in a deployed policy, or from where anyone could write it, is refused before anything runs."""
    action, says = REFUSED[name]
    done = custodian(cloud, "validate", policy(tmp_path, **action))
    assert done.returncode != 0
    assert says in done.stderr
