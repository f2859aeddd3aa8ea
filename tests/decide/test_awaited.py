"""What is read out of an event, for the time in which EC2 may not show it."""

import json
from datetime import datetime, timedelta, timezone

import pytest

from c7n_ingress.decide.awaited import RECENT, said_by, with_opened
from c7n_ingress.decide.rules import Rule, Traffic, matches_from, source_from

TIME = datetime(2026, 1, 31, 12, 34, 56, tzinfo=timezone.utc)
GROUP = {"GroupId": "sg-1", "IpPermissions": []}
WIDE = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22}
ADDED = {"groupId": "sg-1", "securityGroupRuleId": "sgr-1", "ipProtocol": "tcp", "fromPort": 22, "toPort": 22}


def added(*rules):
    """Return the event of a call that added rules."""
    answer = {"securityGroupRuleSet": {"items": [{**ADDED, **rule} for rule in rules]}}
    call = {"eventName": "AuthorizeSecurityGroupIngress", "eventTime": "2026-01-31T12:34:56Z"}
    return {"detail": {**call, "requestParameters": {}, "responseElements": answer}}


def modified(request):
    """Return the event of a call that modified rules."""
    call = {"eventName": "ModifySecurityGroupRules", "eventTime": "2026-01-31T12:34:56Z", "responseElements": None}
    return {"detail": {**call, "requestParameters": {"ModifySecurityGroupRulesRequest": request}}}


UPDATE = {"SecurityGroupRuleId": "sgr-1", "SecurityGroupRule": {**WIDE, "CidrIpv6": "::/0"}}


@pytest.mark.parametrize(
    ("event", "sources"),
    [
        (added({"cidrIpv4": "0.0.0.0/0"}), {"0.0.0.0/0"}),
        (added({"cidrIpv4": "0.0.0.0/0"}, {"cidrIpv6": "::/0"}), {"0.0.0.0/0", "::/0"}),
        (added({"prefixListId": "pl-1"}), {"pl-1"}),
        (added({"referencedGroupInfo": {"groupId": "sg-2"}}), set()),
        (added({"cidrIpv4": "0.0.0.0/0", "isEgress": True}), set()),
        (added({"cidrIpv4": "0.0.0.0/0", "groupId": "sg-2"}), set()),
        (added({"cidrIpv4": "everywhere"}), set()),
        (modified({"GroupId": "sg-1", "SecurityGroupRule": UPDATE}), {"::/0"}),
        (modified([{"GroupId": "sg-1", "SecurityGroupRule": [UPDATE]}]), {"::/0"}),
        (modified({"GroupId": "sg-1", "SecurityGroupRule": {"SecurityGroupRuleId": "sgr-1"}}), set()),
        (modified("sg-1"), set()),
        (modified(None), set()),
    ],
)
def test_the_rules_of_a_call(event, sources):
    """The ingress rules that a call made are read, in each shape; what cannot be read is left out."""
    found = matches_from(with_opened(GROUP, said_by(event), ())["IpPermissions"])
    assert {str(match.source) for match in found} == sources


@pytest.mark.parametrize("odd", [None, ["sgr-1"], {"id": "sgr-1"}])
def test_an_odd_id_of_a_rule(odd):
    """An id that is no text fails nothing: the group is closed all the same."""
    for said in (
        said_by(added({"cidrIpv4": "0.0.0.0/0", "securityGroupRuleId": odd})),
        said_by(modified({"GroupId": "sg-1", "SecurityGroupRule": {**UPDATE, "SecurityGroupRuleId": odd}})),
    ):
        assert said.opened_at(RULE) is None
        assert said.lacks(GROUP, [RULE.match], WITH_RULE, [RULE]) == []


def test_a_rule_that_is_shown():
    """A rule that EC2 shows is not added a second time."""
    shown = {**GROUP, "IpPermissions": [{**WIDE, "IpRanges": [{"CidrIp": "0.0.0.0/0", "Description": "all"}]}]}
    assert with_opened(shown, said_by(added({"cidrIpv4": "0.0.0.0/0"})), ()) is shown


PERMISSION = {"ipProtocol": "tcp", "fromPort": 22, "toPort": 22}


@pytest.mark.parametrize(
    ("changed", "sources"),
    [
        (None, set()),
        ({}, set()),
        ({"Configuration.IpPermissions.0": {"previousValue": None}}, set()),
        (
            {"Configuration.IpPermissions.0": {"previousValue": {**PERMISSION, "ipRanges": ["10.0.0.0/8"]}}},
            {"10.0.0.0/8"},
        ),
        (
            {
                "Configuration.IpPermissions.0": {
                    "previousValue": {**PERMISSION, "ipv4Ranges": [{"cidrIp": "10.0.0.0/8"}]},
                }
            },
            {"10.0.0.0/8"},
        ),
        (
            {
                "Configuration.IpPermissions.0": {
                    "previousValue": {**PERMISSION, "ipRanges": [{"cidrIp": "10.0.0.0/8"}]},
                }
            },
            {"10.0.0.0/8"},
        ),
        (
            {
                "Configuration.IpPermissions.1": {
                    "previousValue": {
                        **PERMISSION,
                        "ipRanges": ["10.0.0.0/8"],
                        "ipv4Ranges": [{"cidrIp": "10.0.0.0/8"}],
                        "ipv6Ranges": [{"cidrIpv6": "fd00::/8"}],
                        "prefixListIds": [{"prefixListId": "pl-1"}],
                        "userIdGroupPairs": [{"groupId": "sg-2", "userId": "123456789012"}],
                    }
                }
            },
            {"10.0.0.0/8", "fd00::/8", "pl-1", "sg-2"},
        ),
        ({"Configuration.IpPermissionsEgress.0": {"previousValue": {**PERMISSION, "ipRanges": ["10.0.0.0/8"]}}}, set()),
    ],
)
def test_what_an_item_replaced(changed, sources):
    """The ingress rules that a group had before an item of AWS Config are read from what changed."""
    item = {"configurationItemCaptureTime": "2026-01-31T12:34:56.000Z"}
    invoking = {"configurationItem": item, "configurationItemDiff": changed and {"changedProperties": changed}}
    said = said_by({"invokingEvent": json.dumps(invoking)})
    assert {str(match.source) for match in said.before} == sources
    assert said.time == TIME


def changed_to(*cidrs):
    """Return how an item's change writes a permission with these networks."""
    return {**PERMISSION, "ipRanges": list(cidrs), "ipv4Ranges": [{"cidrIp": cidr} for cidr in cidrs]}


@pytest.mark.parametrize(
    ("changed", "is_known"),
    [
        (None, True),
        ({}, True),
        ({"Configuration.IpPermissions.0": {"updatedValue": changed_to("0.0.0.0/0")}}, True),
        ({"Configuration.IpPermissions.0": {"previousValue": None, "updatedValue": changed_to("0.0.0.0/0")}}, True),
        (
            {
                "Configuration.IpPermissions.0": {
                    "previousValue": changed_to("0.0.0.0/0"),
                    "updatedValue": changed_to("0.0.0.0/0", "10.0.0.0/8"),
                }
            },
            False,
        ),
        ({"Configuration.IpPermissions.0": {"updatedValue": changed_to("10.0.0.0/8")}}, False),
        ({"Configuration.IpPermissionsEgress.0": {"updatedValue": changed_to("0.0.0.0/0")}}, False),
        ({"Configuration.Tags.0": {"updatedValue": {"key": "team", "value": "web"}}}, False),
    ],
)
def test_when_a_rule_was_opened(changed, is_known):
    """A rule was opened when its item was captured, unless the item says that something else has changed."""
    item = {"configurationItemCaptureTime": "2026-01-31T12:34:56.000Z"}
    invoking = {"configurationItem": item, "configurationItemDiff": changed and {"changedProperties": changed}}
    said = said_by({"invokingEvent": json.dumps(invoking)})
    rule = Rule("sgr-1", Traffic("tcp", 22, 22), source_from("0.0.0.0/0"), None)
    assert said.opened_at(rule) == (TIME if is_known else None)


@pytest.mark.parametrize(
    "event", [None, {}, {"detail": {}}, {"detail": {"findings": []}}, {"source": "aws.events"}], ids=str
)
def test_other_events(event):
    """Nothing is waited for on an event of another kind."""
    assert said_by(event) is None


def test_how_long_an_event_is_recent():
    """EC2 may not show a change for a minute."""
    said = said_by(added())
    assert said.is_recent(TIME + RECENT - timedelta(seconds=1))
    assert not said.is_recent(TIME + RECENT)


RULE = Rule("sgr-1", Traffic("tcp", 22, 22), source_from("0.0.0.0/0"), None)
WEB = Rule("sgr-2", Traffic("tcp", 443, 443), source_from("0.0.0.0/0"), None)
TO_ALL = {"IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
WITH_RULE, WITH_WEB = (
    {"IpPermissions": [{**WIDE, **TO_ALL}]},
    {"IpPermissions": [{**WIDE, "FromPort": 443, "ToPort": 443, **TO_ALL}]},
)
BOTH = {"IpPermissions": WITH_RULE["IpPermissions"] + WITH_WEB["IpPermissions"]}
CALL = added({"cidrIpv4": "0.0.0.0/0"})
CHANGE = modified({"GroupId": "sg-1", "SecurityGroupRule": UPDATE})


def item(before):
    """Return the event of an item that replaced a permission."""
    changed = {"Configuration.IpPermissions.0": {"previousValue": before, "updatedValue": changed_to("0.0.0.0/0")}}
    invoking = {
        "configurationItem": {"configurationItemCaptureTime": "2026-01-31T12:34:56.000Z"},
        "configurationItemDiff": {"changedProperties": changed},
    }
    return {"invokingEvent": json.dumps(invoking)}


ITEM, NEW = item({**changed_to("0.0.0.0/0"), "fromPort": 443, "toPort": 443}), item(None)


@pytest.mark.parametrize(
    ("event", "then", "now", "rules", "lacks"),
    [
        (CALL, WITH_RULE, WITH_RULE, [RULE], False),
        (CALL, WITH_RULE, GROUP, [], True),
        (CALL, WITH_RULE, GROUP, [RULE], True),
        (CALL, WITH_RULE, WITH_RULE, [], True),
        (CALL, WITH_RULE, {}, [], True),
        (CALL, WITH_RULE, WITH_WEB, [WEB], True),
        (CALL, WITH_RULE, WITH_WEB, [WEB._replace(id="sgr-1")], False),  # somebody changed it since
        (CALL, WITH_RULE, GROUP, [RULE._replace(id="sgr-9")], True),
        (CHANGE, WITH_RULE, WITH_WEB, [WEB._replace(id="sgr-1")], True),  # the state may be the one before
        (ITEM, WITH_RULE, WITH_WEB, [WEB], True),
        (ITEM, WITH_RULE, WITH_WEB, [WEB._replace(source=source_from("0.0.0.0/1"))], False),  # a later state
        (ITEM, BOTH, WITH_WEB, [WEB], True),
        (NEW, BOTH, WITH_WEB, [WEB], True),
        (NEW, {}, WITH_WEB, [WEB], False),
    ],
)
def test_what_ec2_does_not_show_yet(event, then, now, rules, lacks):
    """A rule is waited for until EC2 shows it in both lists, unless EC2 shows a state after the event."""
    found = said_by(event).lacks(then, [RULE.match], now, iter(rules))
    assert found == ([RULE.match] if lacks else [])


def test_who_called_and_what_was_touched():
    """Of a call, the caller and the ids of the rules that it made are known, but of an id that is missing."""
    event = modified(
        [{"GroupId": "sg-1", "SecurityGroupRule": [UPDATE, {"SecurityGroupRule": UPDATE["SecurityGroupRule"]}]}]
    )
    event["detail"]["userIdentity"] = {"arn": "arn:aws:iam::123456789012:user/alice"}
    said = said_by(event)
    assert (said.caller, said.created) == ("arn:aws:iam::123456789012:user/alice", frozenset())
    assert said.opened_at(RULE) == TIME
    assert said.opened_at(WEB) is None
    call = said_by(CALL)
    assert (call.created, call.touched, call.caller) == ({"sgr-1"}, {"sgr-1"}, None)


@pytest.mark.parametrize("identity", [None, "alice", {}, {"arn": None}, {"arn": ["alice"]}])
def test_a_caller_without_an_arn(identity):
    """A call without a readable ARN has no caller."""
    event = added()
    event["detail"]["userIdentity"] = identity
    assert said_by(event).caller is None


def test_what_ec2_shows_stays():
    """What EC2 does not show is added to what it shows, in EC2's shape and with all lists."""
    group = {**GROUP, **WITH_WEB, "GroupName": "web"}
    hidden = {
        **WIDE,
        "IpRanges": [{"CidrIp": "0.0.0.0/0"}],
        "Ipv6Ranges": [],
        "PrefixListIds": [],
        "UserIdGroupPairs": [],
    }
    assert with_opened(group, said_by(CALL), ()) == {**group, "IpPermissions": [*WITH_WEB["IpPermissions"], hidden]}
    assert with_opened({"GroupId": "sg-1"}, said_by(CALL), ()) == {"GroupId": "sg-1", "IpPermissions": [hidden]}
    unreadable = modified({"GroupId": "sg-1", "SecurityGroupRule": {"SecurityGroupRule": {"CidrIpv4": "0.0.0.0/0"}}})
    assert with_opened(GROUP, said_by(unreadable), ()) is GROUP
