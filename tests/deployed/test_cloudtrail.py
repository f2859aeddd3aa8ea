import json
import logging
import time
from datetime import datetime, timezone
from threading import Timer

import pytest
from c7n_mailer.utils import get_aws_username_from_event
from moto.ec2.exceptions import EC2ClientError

from c7n_ingress_tools.embedded_aws.ec2 import Response
from c7n_ingress_tools.functions.runtime import FunctionError
from tests.support.embedded import (
    cases,
    group_of,
    load,
    made_changes,
    messages,
    rules_of,
    source_of,
)
from tests.support.kept import deploy_once, warm

NAME = "custodian-open-ingress-cloudtrail"
EVENTS = cases("open-ingress-cloudtrail")["events"]
SSH = {"protocol": "tcp", "ports": 22, "source": "0.0.0.0/0"}
RECORD = {
    "eventVersion": "1.09",
    "eventTime": "2026-01-31T12:34:56Z",
    "eventSource": "ec2.amazonaws.com",
    "awsRegion": "us-east-1",
    "requestID": "2b1b6e3f-5f3e-4f0f-9c3b-EXAMPLE11111",
    "eventID": "2b1b6e3f-5f3e-4f0f-9c3b-EXAMPLE33333",
    "readOnly": False,
    "eventType": "AwsApiCall",
    "managementEvent": True,
    "recipientAccountId": "123456789012",
    "eventCategory": "Management",
}


def event(case, group_id, rule_id):
    """Return a case's call as EventBridge hands it to a Lambda."""
    text = json.dumps(RECORD | case["detail"])
    for word, there in (("GROUP", group_id), ("RULE", rule_id), ("OTHER", "sgr-0123456789abcdef0")):
        text = text.replace(f'"{word}"', f'"{there}"')
    return {
        "version": "0",
        "id": "7bf73129-1428-4cd3-a780-EXAMPLE44444",
        "detail-type": "AWS API Call via CloudTrail",
        "source": "aws.ec2",
        "account": "123456789012",
        "time": "2026-01-31T12:34:58Z",
        "region": "us-east-1",
        "resources": [],
        "detail": json.loads(text),
    }


def recent(case, group_id, rule_id):
    """Return the event of a case's call that was made just now."""
    made = event(case, group_id, rule_id)
    made["detail"]["eventTime"] = f"{datetime.now(timezone.utc):%Y-%m-%dT%H:%M:%SZ}"
    return made


def open_group(number):
    """Put a group that lets SSH in from everywhere into EC2, and return its id and its rule's."""
    group = group_of({"name": f"group {number}", "ingress": [SSH]}, number)
    load([group])
    (rule_id,) = rules_of(group["GroupId"])
    return group["GroupId"], rule_id


def deploy(cloud, folder):
    """Deploy the policy with the stock command."""
    deploy_once(cloud, folder, "open-ingress-cloudtrail", ["198.18.7.0/24"])


@pytest.fixture(scope="module")
def outcomes(embedded_aws, tmp_path_factory):
    """Hand each case's event to the deployed policy, and return what came of it: sources, calls and messages."""
    cloud = embedded_aws
    cloud.reset()
    deploy(cloud, tmp_path_factory.mktemp("policy"))
    found = []
    with warm(cloud, NAME) as function:
        for number, case in enumerate(EVENTS, 1):
            group_id, rule_id = open_group(number)
            cloud.calls.clear()
            function.invoke(event(case, group_id, rule_id))
            changes = made_changes(cloud)
            sources = [source_of(rule) for rule in rules_of(group_id).values()]
            found.append({"group": group_id, "sources": sources, "changes": changes, "messages": messages(cloud)})
    return found


cases_of = pytest.mark.parametrize("number", range(len(EVENTS)), ids=[case["name"] for case in EVENTS])


@cases_of
def test_a_call(outcomes, number):
    """The group that a call opened is found and closed, and the message says who called; others are passed over."""
    outcome, case = outcomes[number], EVENTS[number]
    if "says" not in case:
        assert outcome["sources"] == ["0.0.0.0/0"]
        assert (outcome["changes"], outcome["messages"]) == ([], [])
        return
    assert outcome["sources"] == ["198.18.7.0/24"]
    (message,) = outcome["messages"]
    (resource,) = message["resources"]
    assert (resource["GroupId"], resource["c7n:opened-ingress"]) == (outcome["group"], case["says"])
    (record,) = resource["c7n:replaced-ingress"]
    is_theirs = case["says"].startswith("Opened")
    assert record.get("opened") == ("2026-01-31T12:34:56.000000Z" if is_theirs else None)
    assert record.get("opened_by") == (case["detail"]["userIdentity"].get("arn") if is_theirs else None)


@cases_of
def test_the_owner(outcomes, number):
    """c7n-mailer finds the person for `event-owner`, and the message has nothing of the event besides."""
    for message in outcomes[number]["messages"]:
        owner = get_aws_username_from_event(logging.getLogger(), message["event"])
        assert owner == EVENTS[number].get("owner")
        if message["event"]:
            assert set(message["event"]) == {"detail"}
            assert set(message["event"]["detail"]) == {"userIdentity"}
            assert set(message["event"]["detail"]["userIdentity"]) <= {"type", "arn", "principalId", "userName"}


def test_what_is_subscribed(cloud, tmp_path):
    """EventBridge hands on the two calls that can open a group, and no others."""
    deploy(cloud, tmp_path)
    rule = cloud.session().client("events").describe_rule(Name=NAME)
    assert json.loads(rule["EventPattern"]) == {
        "source": ["aws.ec2"],
        "detail-type": ["AWS API Call via CloudTrail"],
        "detail": {
            "eventSource": ["ec2.amazonaws.com"],
            "eventName": ["AuthorizeSecurityGroupIngress", "ModifySecurityGroupRules"],
        },
    }


def test_a_call_that_was_made_up(cloud, tmp_path):
    """Someone who may put events cannot start the Lambda, and blame others, with an event like CloudTrail's.

    EventBridge lets AWS alone say that it is `aws.`-something: for anybody else PutEvents answers
    NotAuthorizedForSourceException, https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEventsResultEntry.html
    """
    deploy(cloud, tmp_path)
    events, sqs = cloud.session().client("events"), cloud.session().client("sqs")
    arrived = sqs.create_queue(QueueName="arrived")["QueueUrl"]
    events.remove_targets(Rule=NAME, Ids=[NAME])  # the Lambda: here a queue shows what it would be invoked with
    events.put_targets(Rule=NAME, Targets=[{"Id": "1", "Arn": "arn:aws:sqs:us-east-1:123456789012:arrived"}])
    made_up = event(EVENTS[0], *open_group(1))

    def put(source):
        entry = {"DetailType": made_up["detail-type"], "Detail": json.dumps(made_up["detail"])}
        events.put_events(Entries=[{**entry, "Source": source}])
        return [json.loads(message["Body"]) for message in sqs.receive_message(QueueUrl=arrived).get("Messages", ())]

    assert put("com.example.mallory") == []
    assert put("ec2.amazonaws.com") == []
    (genuine,) = put("aws.ec2")  # as AWS itself puts it
    assert genuine["detail"] == made_up["detail"]


def test_a_group_that_cannot_be_read(cloud, tmp_path, monkeypatch):
    """If EC2 does not describe the group, the Lambda fails, so that the event is tried again and then kept."""
    deploy(cloud, tmp_path)
    group_id, rule_id = open_group(1)

    def refuse(_):
        raise EC2ClientError("UnauthorizedOperation", "You are not authorized to perform this operation.")

    with warm(cloud, NAME) as function:
        with monkeypatch.context() as patch:
            patch.setattr(Response, "describe_security_groups", refuse)
            with pytest.raises(FunctionError, match=rf"groups {group_id} could not be read: .*UnauthorizedOperation"):
                function.invoke(event(EVENTS[0], group_id, rule_id))
        function.invoke(event(EVENTS[0], group_id, rule_id))
    assert [source_of(rule) for rule in rules_of(group_id).values()] == ["198.18.7.0/24"]


# -- before EC2 shows what a call did

WIDE = [{"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]
PRIVATE = {"protocol": "tcp", "ports": 443, "source": "10.0.0.0/8"}


@pytest.fixture
def function(cloud, tmp_path):
    """Return the deployed function."""
    deploy(cloud, tmp_path)
    with warm(cloud, NAME) as function:
        yield function


def closed_group(number=1):
    """Load a group that lets in a private network only, and return its id."""
    group = group_of({"name": f"group {number}", "ingress": [PRIVATE]}, number)
    load([group])
    return group["GroupId"]


def sources_of(group_id):
    """Return the sources of a group's rules, sorted."""
    return sorted(source_of(rule) for rule in rules_of(group_id).values())


@pytest.mark.parametrize("lag", [1, 3])
def test_a_rule_that_ec2_shows_later(cloud, function, lag):
    """A rule that a call added is closed in the same run, though EC2 shows it only some readings later."""
    group_id, ec2 = closed_group(), cloud.session().client("ec2")
    cloud.ec2.lag = lag
    made = ec2.authorize_security_group_ingress(GroupId=group_id, IpPermissions=WIDE)
    cloud.ec2.lag = 0
    function.invoke(recent(EVENTS[0], group_id, made["SecurityGroupRules"][0]["SecurityGroupRuleId"]))
    assert sources_of(group_id) == ["10.0.0.0/8", "198.18.7.0/24"]
    assert len(messages(cloud)) == 1


def test_a_modified_rule_that_ec2_shows_later(cloud, function):
    """A rule that a call modified is closed in the same run, though EC2 first shows it as it was."""
    group_id, ec2 = closed_group(), cloud.session().client("ec2")
    (rule_id,) = rules_of(group_id)
    (case,) = (case for case in EVENTS if case["name"] == "one rule modified")
    opened = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "CidrIpv4": "0.0.0.0/0"}
    cloud.ec2.lag = 2
    rules = [{"SecurityGroupRuleId": rule_id, "SecurityGroupRule": opened}]
    ec2.modify_security_group_rules(GroupId=group_id, SecurityGroupRules=rules)
    cloud.ec2.lag = 0
    function.invoke(recent(case, group_id, rule_id))
    assert sources_of(group_id) == ["198.18.7.0/24"]


def test_a_group_that_ec2_shows_later(function):
    """A group that EC2 does not show yet is read again, and closed in the same run."""
    group = group_of({"name": "group 1", "ingress": [SSH]}, 1)
    function.invoke(event(EVENTS[0], group["GroupId"], "sgr-0123456789abcdef0"))  # starts the process
    timer = Timer(1.5, load, [[group]])
    timer.start()
    function.invoke(recent(EVENTS[0], group["GroupId"], "sgr-0123456789abcdef0"))
    timer.join()
    assert sources_of(group["GroupId"]) == ["198.18.7.0/24"]


@pytest.mark.parametrize("there", [True, False], ids=["the rule", "the group"])
def test_what_ec2_never_shows(cloud, function, there):
    """If EC2 does not show the rule or the group of a new event, the function fails, so that Lambda tries again."""
    group_id = closed_group() if there else "sg-00000000000000001"
    with pytest.raises(FunctionError, match=r"EC2 does not show (tcp 22 from 0\.0\.0\.0/0|sg-\w+) yet; Lambda tries"):
        function.invoke(recent(EVENTS[0], group_id, "sgr-0123456789abcdef0"))
    assert made_changes(cloud) == messages(cloud) == []


@pytest.mark.parametrize("there", [True, False], ids=["the rule", "the group"])
def test_what_is_gone_since_an_old_event(cloud, function, there):
    """A rule or a group that EC2 does not show a minute after the call was removed: nothing is waited for."""
    group_id = closed_group() if there else "sg-00000000000000001"
    cloud.calls.clear()
    assert function.invoke(event(EVENTS[0], group_id, "sgr-0123456789abcdef0")) is True
    assert [call.action for call in cloud.calls] == ["DescribeSecurityGroups"]


def test_a_rule_that_was_changed_since(cloud, function):
    """A rule that a new event names and that has another source by now was changed: nothing is waited for."""
    group_id = closed_group()
    (rule_id,) = rules_of(group_id)
    function.invoke(event(EVENTS[0], group_id, rule_id))  # starts the process
    start = time.monotonic()
    assert function.invoke(recent(EVENTS[0], group_id, rule_id)) is True
    assert time.monotonic() - start < 1
    assert made_changes(cloud) == messages(cloud) == []


def test_a_harmless_rule_that_ec2_does_not_show(cloud, function):
    """A new event of a rule that the policy does not match costs one call, whether EC2 shows the rule or not."""
    group_id = closed_group()
    made = recent(EVENTS[0], group_id, "sgr-0123456789abcdef0")
    (rule,) = made["detail"]["responseElements"]["securityGroupRuleSet"]["items"]
    rule["cidrIpv4"] = "10.9.0.0/16"
    cloud.calls.clear()
    assert function.invoke(made) is True
    assert [call.action for call in cloud.calls] == ["DescribeSecurityGroups"]


# -- events that the function is not for

BAD = cases("bad-input")["calls"]


@pytest.fixture(scope="module")
def refusing(embedded_aws, tmp_path_factory):
    """Return the deployed function, for events that are refused."""
    embedded_aws.reset()
    deploy(embedded_aws, tmp_path_factory.mktemp("refusing"))
    with warm(embedded_aws, NAME) as function:
        yield function


@pytest.mark.parametrize("case", BAD, ids=lambda case: case["name"])
def test_a_bad_event_is_refused(embedded_aws, refusing, case):
    """An event of another kind than the policy is for is refused with what is wrong, and how to send a right one."""
    good = event(EVENTS[0], "sg-00000000000000001", "sgr-0123456789abcdef0")
    bad = case["event"] if "event" in case else {**good, "detail": {**good["detail"], **case["put"]}}
    embedded_aws.calls.clear()
    with pytest.raises(FunctionError) as refused:
        refusing.invoke(bad)
    assert case["says"] in refused.value.error_message
    assert "\n" not in refused.value.error_message
    assert embedded_aws.calls == []
