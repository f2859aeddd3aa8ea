"""A preview's plan, approved and carried out."""

import json
from datetime import datetime, timedelta, timezone

import pytest
from botocore.exceptions import ConnectionClosedError
from c7n.exceptions import PolicyExecutionError, PolicyValidationError

from c7n_ingress.decide.approved import NOT_IN_PLAN
from c7n_ingress.decide.records import time_from
from c7n_ingress_tools.embedded_aws.ec2 import load_prefix_list
from tests.support.embedded import (
    NOTIFY,
    act,
    aws_error,
    cases,
    day,
    group_of,
    load,
    loaded,
    made_changes,
    make_queue,
    messages,
    permission,
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


def data_of(mode=None, **more):
    """Return a sweep as a policy of its own."""
    action = sweep(**more)
    data = {"name": "closing", "resource": "aws.security-group", "source": "live", "filters": action.pop("filters")}
    return data | {"actions": [{"type": "replace-ingress", **action}], **({"mode": mode} if mode else {})}


def policy(folder, **more):
    """Write a sweep as a policy of its own."""
    path = folder / "closing.json"
    path.write_text(json.dumps({"policies": [data_of(**more)]}))
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


def carry_out(cloud, folder, path, before=None, **more):
    """Carry out a plan, and return what the run's error says, or nothing if it succeeds."""
    try:
        act(cloud, folder, before, **sweep(only=str(path), **more))
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


def sent(cloud):
    """Return the groups of all messages."""
    return [each for message in messages(cloud) for each in message["resources"]]


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
    left = [text for each in sent(cloud) for text in each.get("c7n:left-ingress", ())]
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
    records, before = act(cloud, tmp_path, **sweep(preview=True)), datetime.now(timezone.utc)
    plan = json.loads((tmp_path / "a-policy" / "plan.json").read_text())
    assert {plan["run"]} == {record["run"] for record in records}
    assert time_from(plan["time"]) - before < timedelta(minutes=1)
    changes = {each["traffic"]["FromPort"]: (each["before"], each["after"]) for each in plan["changes"]}
    assert changes == {22: ("0.0.0.0/0", AUTHORIZED), 443: ("::/0", []), 8080: ("pl-0a", AUTHORIZED)}
    assert {each["rule"] for each in plan["changes"]} == set(rules_of(GROUP_ID))
    assert {(each["group"], each["group_name"]) for each in plan["changes"]} == {(GROUP_ID, "web")}
    assert (tmp_path / "a-policy" / "plan.json").read_text() == json.dumps(plan, indent=2)  # people edit it
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
    """A group of the plan that is deleted is reported, and the others are closed, more than at-most too."""
    make_queue(cloud)
    groups = [group_of({"name": f"web-{number}", "ingress": [rule(22)]}, number) for number in (1, 2, 3, 4)]
    load(groups[:3])
    path = planned(cloud, tmp_path)
    cloud.session().client("ec2").delete_security_group(GroupId=f"sg-{3:017x}")
    load(groups[3:])
    error = carry_out(cloud, tmp_path, path, **{"at-most": 1})
    assert f"sg-{3:017x}: not as planned: the group does not exist" in error
    afterwards = {1: {*AUTHORIZED}, 2: {*AUTHORIZED}, 4: {"0.0.0.0/0"}}
    assert {n: {source_of(each) for each in rules_of(f"sg-{n:017x}").values()} for n in afterwards} == afterwards
    left = {each["GroupId"]: each["c7n:left-ingress"] for each in sent(cloud) if "c7n:left-ingress" in each}
    assert [(group, text.partition(": ")[2]) for group, (text,) in left.items()] == [(f"sg-{4:017x}", NOT_IN_PLAN)]


def test_a_second_run(cloud, tmp_path):
    """A second run carries out what the first one left, and finds all else as planned: replaced, removed, or added."""
    make_queue(cloud)
    load_prefix_list("pl-0f00000000000001", ["0.0.0.0/0"])
    opened = [[rule(22), rule(443, "::/0"), rule(8080, "pl-0f00000000000001")], [rule(22)]]
    load(group_of({"name": f"web-{number}", "ingress": each}, number) for number, each in enumerate(opened, 1))
    path, left = planned(cloud, tmp_path), f"sg-{2:017x}"

    def deny(params, **_):
        if params["body"]["GroupId"] == left:
            raise aws_error("UnauthorizedOperation", status=403)

    assert "UnauthorizedOperation" in carry_out(cloud, tmp_path, path, before={"ModifySecurityGroupRules": deny})
    assert "0.0.0.0/0" in {source_of(each) for each in rules_of(left).values()}
    for _ in range(2):
        assert carry_out(cloud, tmp_path, path) == ""
        assert {source_of(each) for n in (1, 2) for each in rules_of(f"sg-{n:017x}").values()} == {*AUTHORIZED}


def test_a_rule_that_somebody_removed(cloud, tmp_path):
    """A rule of the plan that is gone is reported, unless the rules that were to replace it are there."""
    make_queue(cloud)
    opened = [rule(22), rule(443)], [rule(22)]
    load(group_of({"name": f"web-{number}", "ingress": each}, number) for number, each in enumerate(opened, 1))
    path, rule_id = planned(cloud, tmp_path), ids()["22"]
    ec2 = cloud.session().client("ec2")
    ec2.revoke_security_group_ingress(GroupId=GROUP_ID, SecurityGroupRuleIds=[rule_id])
    ec2.delete_security_group(GroupId=f"sg-{2:017x}")
    error = carry_out(cloud, tmp_path, path)
    assert f"{GROUP_ID}: not as planned: {rule_id} is gone (and 1 more, see the log)" in error
    instead = [permission(rule(22, network)) for network in AUTHORIZED]
    ec2.authorize_security_group_ingress(GroupId=GROUP_ID, IpPermissions=instead)
    assert f"sg-{2:017x}: not as planned: the group does not exist" in carry_out(cloud, tmp_path, path)


@pytest.mark.parametrize("place", ["s3://plans/{account_id}/approved", "{region} {account_id}%20#ü"])
def test_where_a_plan_may_be(cloud, tmp_path, monkeypatch, place):
    """A plan is read from a path or an address, whatever its name; both may name the account and the region."""
    make_queue(cloud)
    load([group_of({"name": "web", "ingress": [rule(22)]}, 1)])
    plan = planned(cloud, tmp_path).read_text()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "us-east-1 123456789012%20#ü").write_text(plan)
    s3 = cloud.session().client("s3")
    s3.create_bucket(Bucket="plans")
    s3.put_object(Bucket="plans", Key="123456789012/approved", Body=plan)
    assert carry_out(cloud, tmp_path, place) == ""
    assert sources() == {22: AUTHORIZED}


def test_an_answer_that_is_lost(cloud, tmp_path):
    """What this run has changed is no difference to the plan when the group is read again after a lost answer."""
    make_queue(cloud)
    load([group_of({"name": "web", "ingress": [rule(22), *(rule(22, each) for each in AUTHORIZED)]}, 1)])
    path = planned(cloud, tmp_path)

    def lose(**_):
        raise ConnectionClosedError(endpoint_url="ec2")

    assert carry_out(cloud, tmp_path, path, after={"RevokeSecurityGroupIngress": lose}) == ""
    assert sources() == {22: AUTHORIZED}


def test_a_preview_that_is_stopped(cloud, tmp_path):
    """A preview that somebody stops ends as any other run that is stopped; its plan has nothing to carry out."""
    make_queue(cloud)
    load([group_of({"name": "web", "ingress": [rule(22)]}, 1)])

    def stop(**_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        act(cloud, tmp_path, before={"DescribeSecurityGroupRules": stop}, **sweep(preview=True))
    assert json.loads((tmp_path / "a-policy" / "plan.json").read_text())["changes"] == []


@pytest.mark.parametrize("case", CASES["refused"], ids=lambda case: case["says"])
def test_a_bad_plan(cloud, tmp_path, case):
    """A plan that cannot be read, or is of another account or region, ends the run before anything is changed."""
    load([group_of({"name": "web", "ingress": [rule(22)]}, 1)])
    (path := tmp_path / "plan.json").write_text(case["plan"])
    error = carry_out(cloud, tmp_path, path)
    assert f"changed nothing: only {path.as_uri()}" in error
    assert case["says"] in error
    assert made_changes(cloud) == []


DEPLOYED = {"type": "periodic", "schedule": "rate(1 day)", "role": "custodian"}
REFUSED = {
    "a deployed policy": ({"mode": DEPLOYED, "only": "plan.json"}, "only: a plan is carried out once"),
    "an address that anyone on the way could write": (
        {"only": "http://example.com/plan.json"},
        ": only 'http://example.com/plan.json': anyone on the way could write the list; use https or S3",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_validate_refuses(tmp_path, name):
    """A plan in a deployed policy, or from where anyone could write it, is refused before anything runs."""
    action, says = REFUSED[name]
    with pytest.raises(PolicyValidationError, match=says):
        loaded(data_of(**action), tmp_path).validate()
