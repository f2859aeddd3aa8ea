"""Groups as they are: the source of policies, and what EC2 does not show yet of what an event says."""

from datetime import datetime, timedelta, timezone

import pytest
from c7n.exceptions import PolicyExecutionError

from c7n_ingress.aws import live
from c7n_ingress.aws.live import Shown
from c7n_ingress.aws.read import DELAYS, MATCHED, LiveGroups, Unread
from c7n_ingress.decide.awaited import RECENT, said_by
from c7n_ingress.decide.rules import UNREADABLE
from tests.support.embedded import OPEN, aws_error, group_of, ids, load, loaded, permission, watched

SSH = {"protocol": "tcp", "ports": 22, "source": "0.0.0.0/0"}
WEB = {"protocol": "tcp", "ports": 443, "source": "0.0.0.0/0"}


def call(group_id, ports=22, age=0):
    """Return the event of a call that opened a port of a group, so many seconds ago."""
    time = datetime.now(timezone.utc) - timedelta(seconds=age)
    rule = {"groupId": group_id, "securityGroupRuleId": "sgr-new", "isEgress": False, "ipProtocol": "tcp"}
    rule |= {"fromPort": ports, "toPort": ports, "cidrIpv4": "0.0.0.0/0"}
    made = {"securityGroupRuleSet": {"items": [rule]}}
    detail = {"eventName": "AuthorizeSecurityGroupIngress", "eventTime": time.isoformat(), "responseElements": made}
    return {"detail": detail}


@pytest.fixture
def aws(cloud, tmp_path, monkeypatch):
    """Return the manager of a policy with live groups, what happens at its calls, and for how long it has waited."""
    session, happens = watched(cloud)
    happens.update({"before-call": {}, "after-call": {}})
    data = {"name": "a-policy", "resource": "aws.security-group", "source": "live", "filters": OPEN}
    manager = loaded(data, tmp_path, session).resource_manager
    waited = []
    monkeypatch.setattr(live.time, "sleep", waited.append)
    return manager, happens, waited


def after(number, change):
    """Return what changes the answers of EC2 after the first ones."""
    left = [number]

    def answer(parsed, **_):
        left[0] -= 1
        if left[0] >= 0:
            change(parsed)

    return answer


def without(number):
    """Return what leaves a group out of an answer."""

    def change(parsed):
        parsed["SecurityGroups"] = [each for each in parsed["SecurityGroups"] if each["GroupId"] != ids(number)[0]]

    return change


def test_the_key_of_the_cache(aws):
    """No listing is found in c7n's cache."""
    manager, _, _ = aws
    keys = [manager.source.get_query_params(None) for _ in range(2)]
    assert keys[0] != keys[1]
    assert keys[0].keys() == {"listed-at"}


def test_the_groups_of_an_account(aws):
    """All groups are listed."""
    load([group_of({"name": f"g{number}", "ingress": [SSH]}, number) for number in (1, 2)])
    manager, _, _ = aws
    assert {"g1", "g2"} <= {each["GroupName"] for each in manager.source.resources({})}


def test_the_groups_of_an_event(aws):
    """The groups of an event that is no call are read as they are; that one is gone is no error, all else is."""
    load([group_of({"name": "g1", "ingress": [SSH]}, 1)])
    manager, happens, waited = aws
    assert [each["GroupName"] for each in manager.source.get_resources(ids(1, 2))] == ["g1"]
    assert waited == []

    def fail(**_):
        raise aws_error("Odd", "DescribeSecurityGroups")

    happens["before-call"]["DescribeSecurityGroups"] = fail
    says = rf"^groups {ids(1)[0]}, {ids(2)[0]} could not be read: An error occurred \(Odd\)"
    with pytest.raises(PolicyExecutionError, match=says):
        manager.source.get_resources(ids(1, 2))


def test_a_modified_egress_rule(cloud, aws):
    """A call that modified an egress rule does not say so: EC2 does, and the rule is not waited for as ingress."""
    load([group_of({"name": "g1", "ingress": [{**WEB, "source": "10.0.0.0/8"}]}, 1)])
    ec2 = cloud.session().client("ec2")
    shapes = ec2.describe_security_group_rules(Filters=[{"Name": "group-id", "Values": ids(1)}])["SecurityGroupRules"]
    rule_of = {each["IsEgress"]: each["SecurityGroupRuleId"] for each in shapes}
    manager, _, _ = aws
    for is_egress, rule_id in rule_of.items():
        rule = {"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "CidrIpv4": "0.0.0.0/0"}
        update = {"SecurityGroupRuleId": rule_id, "SecurityGroupRule": rule}
        request = {"ModifySecurityGroupRulesRequest": {"GroupId": ids(1)[0], "SecurityGroupRule": update}}
        time = datetime.now(timezone.utc).isoformat()
        manager.source.event = {
            "detail": {"eventName": "ModifySecurityGroupRules", "eventTime": time, "requestParameters": request}
        }
        (group,) = manager.source.get_resources(ids(1))
        sources = [each["CidrIp"] for permission in group["IpPermissions"] for each in permission["IpRanges"]]
        assert sources == ["10.0.0.0/8"] + ([] if is_egress else ["0.0.0.0/0"])


@pytest.mark.parametrize("age", [0, RECENT.total_seconds() + 1])
@pytest.mark.parametrize("hidden", [0, 1, len(DELAYS), len(DELAYS) + 1])
def test_a_group_that_ec2_does_not_show_yet(aws, hidden, age):
    """A new group of a recent call is waited for, and then Lambda tries the event again; of an old one it is gone."""
    load([group_of({"name": f"g{number}", "ingress": [WEB]}, number) for number in (1, 2)])
    manager, happens, waited = aws
    manager.source.event = call(ids(2)[0], age=age)
    happens["after-call"]["DescribeSecurityGroups"] = after(hidden, without(2))
    if hidden > len(DELAYS) and not age:
        with pytest.raises(
            PolicyExecutionError, match=f"^EC2 does not show {ids(2)[0]} yet; Lambda tries the event again$"
        ):
            manager.source.get_resources(ids(1, 2, 2))
    else:
        found = {each["GroupId"]: len(each["IpPermissions"]) for each in manager.source.get_resources(ids(1, 2, 2))}
        assert found == ({ids(1)[0]: 1, ids(2)[0]: 2} if not age else dict.fromkeys(ids(1, 2)[: 1 if hidden else 2], 1))
    assert waited == ([] if age else [*DELAYS[:hidden]])


def shown(aws, event, *listed):
    """Return how groups are shown, as the policy's filters have seen them."""
    manager, _, _ = aws
    groups = LiveGroups(manager, manager.session_factory().client("ec2"))
    return Shown(groups, listed, said_by(event))


def listed(number, *rules, **more):
    """Return a group as the filters have seen it."""
    return {**group_of({"name": f"g{number}", "ingress": rules}, number), MATCHED: [*map(permission, rules)], **more}


@pytest.mark.parametrize("age", [0, RECENT.total_seconds() + 1])
@pytest.mark.parametrize("hidden", [0, 1, len(DELAYS), len(DELAYS) + 1])
def test_a_rule_that_ec2_does_not_show_yet(aws, hidden, age):
    """A group is read again until EC2 shows the rule of a recent call, the others at once; what it shows is closed."""
    load([group_of({"name": f"g{number}", "ingress": [SSH, WEB]}, number) for number in (1, 2)])
    _, happens, waited = aws

    def hide(parsed):
        parsed["SecurityGroupRules"] = [
            each for each in parsed["SecurityGroupRules"] if (each["GroupId"], each["FromPort"]) != (ids(2)[0], 443)
        ]

    happens["after-call"]["DescribeSecurityGroupRules"] = after(hidden, hide)
    as_shown = shown(aws, call(ids(2)[0], 443, age), listed(1, SSH, WEB), listed(2, SSH, WEB))
    readings = [*as_shown.readings()]
    assert [each.group["GroupId"] for each in readings] == ids(1, 2)
    is_late = hidden > len(DELAYS) and not age
    assert len(readings[1].rules) == (1 if is_late or (age and hidden) else 2)
    late = f"{ids(2)[0]}: EC2 does not show tcp 443 from 0.0.0.0/0 yet; Lambda tries the event again"
    assert [*as_shown.missing] == ([late] if is_late else [])
    assert waited == ([] if age else [*DELAYS[:hidden]])


def test_a_group_that_ec2_shows_no_more(aws):
    """A group of a recent event that EC2 does not show is waited for, and the run fails; of any other it is gone."""
    load([group_of({"name": "g1", "ingress": [SSH]}, 1)])
    _, _, waited = aws
    late = shown(aws, call(ids(2)[0]), listed(1, SSH), listed(2, SSH))
    assert [each.group["GroupId"] for each in late.readings()] == ids(1)
    assert late.missing == [f"EC2 does not show {ids(2)[0]} yet; Lambda tries the event again"]
    assert waited == [*DELAYS]
    for event in (None, {"detail": {}}, call(ids(2)[0], age=RECENT.total_seconds() + 1)):
        gone = shown(aws, event, listed(1, SSH), listed(2, SSH))
        assert [each.group["GroupId"] for each in gone.readings()] == ids(1)
        assert not gone.missing
    assert waited == [*DELAYS]


def test_what_cannot_be_compared(aws, caplog):
    """A group that cannot be read or compared with the event is shown as it is, at once."""
    load([group_of({"name": f"g{number}", "ingress": [SSH]}, number) for number in (1, 2, 3)])
    _, happens, waited = aws

    def distort(parsed, **_):
        for rule in parsed["SecurityGroupRules"]:
            if rule["GroupId"] == ids(1)[0]:
                del rule["IpProtocol"]

    happens["after-call"]["DescribeSecurityGroupRules"] = distort
    odd = {**listed(3), MATCHED: [{"IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]}
    groups = [listed(1, SSH, WEB), listed(2, SSH, WEB, **{UNREADABLE: "odd"}), odd]
    as_shown = shown(aws, call(ids(2)[0], 443), *groups)
    unread, *others = as_shown.readings()
    assert isinstance(unread, Unread)
    assert [each.group["GroupId"] for each in others] == ids(2, 3)
    assert ([*as_shown.missing], waited) == ([], [])
    assert f"{ids(3)[0]} cannot be compared with the event" in caplog.messages
