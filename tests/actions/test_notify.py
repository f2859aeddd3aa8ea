"""Who is notified of a run, of what, and what happens if nobody can be."""

import json
import re

import pytest
from botocore.exceptions import ClientError
from c7n.exceptions import PolicyExecutionError

from c7n_ingress_tools.embedded_aws.config import configuration_item, evaluations, record
from c7n_ingress_tools.embedded_aws.config import event as event_of
from tests.support.embedded import ACCOUNT, NOTIFY, act, made_changes, make_queue, make_table, messages, rules_of

SSH = {"protocol": "tcp", "ports": 22, "source": "0.0.0.0/0"}
OWN = {"authorized": ["198.18.7.0/24"], "notify": NOTIFY}
ROLE = {"role": "arn:aws:iam::123456789012:role/custodian"}
DAILY = {"type": "periodic", "schedule": "rate(1 day)", **ROLE}
RULE = {"type": "config-rule", **ROLE}
TOPIC = f"arn:aws:sns:us-east-1:{ACCOUNT}:messages"
BY_ARN = {**NOTIFY, "transport": {"type": "sqs", "queue": "arn:aws:sqs:{region}:{account_id}:custodian-mailer"}}
BY_TOPIC = {**NOTIFY, "transport": {"type": "sns", "topic": TOPIC}}
UNREACHABLE = "^replace-ingress changed nothing: {} cannot be reached, so nobody would be notified: "


def resources(cloud):
    """Return the groups of the messages, by id."""
    return {each["GroupId"]: each for message in messages(cloud) for each in message["resources"]}


def denied(**_):
    """Refuse a call."""
    answer = {"Error": {"Code": "AccessDenied", "Message": "no"}, "ResponseMetadata": {"HTTPStatusCode": 403}}
    raise ClientError(answer, "Call")


@pytest.mark.parametrize(
    ("notify", "what", "reads", "make"),
    [
        (NOTIFY, "custodian-mailer", "GetQueueAttributes", make_queue),
        (BY_ARN, BY_ARN["transport"]["queue"], "GetQueueAttributes", make_queue),
        (
            BY_TOPIC,
            TOPIC,
            "GetTopicAttributes",
            lambda cloud: cloud.session().client("sns").create_topic(Name="messages"),
        ),
    ],
    ids=["queue", "queue by ARN", "topic"],
)
def test_nobody_can_be_notified(cloud, group, tmp_path, notify, what, reads, make):
    """A deployed policy with a limit changes nothing if its queue or topic is not there, or may not be looked at."""
    cloud.reset()
    for number in (1, 2):
        group(SSH, number=number)
    deployed = {**OWN, "notify": notify, "at-most": 1, "mode": DAILY}
    with pytest.raises(PolicyExecutionError, match=UNREACHABLE.format(re.escape(what))):
        act(cloud, tmp_path, **deployed)
    make(cloud)
    with pytest.raises(PolicyExecutionError, match=UNREACHABLE.format(re.escape(what))):
        act(cloud, tmp_path, before={reads: denied}, **deployed)
    assert made_changes(cloud) == []
    cloud.calls.clear()
    assert len(act(cloud, tmp_path, **deployed)) == 1
    sent = [call.action for call in cloud.calls if call.action in (reads, "SendMessage", "Publish")]
    assert sent == [reads, "Publish" if notify is BY_TOPIC else "SendMessage"]


@pytest.mark.parametrize(
    "more", [{"mode": DAILY}, {"at-most": 5}, {"at-most": 5, "mode": DAILY, "preview": True}], ids=str
)
def test_what_is_not_looked_at_before(cloud, group, tmp_path, more):
    """Where Lambda does not run a policy again, or nothing limits it, the queue is not looked at before."""
    group(SSH)
    act(cloud, tmp_path, **OWN, **more)
    assert "GetQueueAttributes" not in {call.action for call in cloud.calls}
    assert len(messages(cloud)) == 1


def test_config_is_told_of_a_failure(cloud, group, tmp_path, caplog):
    """If the action fails, Config hears that the group is open; c7n would report it only after the actions."""
    group_id = group(SSH)
    (shape,) = cloud.session().client("ec2").describe_security_groups(GroupIds=[group_id])["SecurityGroups"]
    source = {"Owner": "AWS", "SourceIdentifier": "INCOMING_SSH_DISABLED"}
    cloud.session().client("config").put_config_rule(ConfigRule={"ConfigRuleName": "a-rule", "Source": source})
    item = configuration_item(shape)
    event = event_of(record(item), "a-rule")
    run = {**OWN, "event": event, "before": {"ModifySecurityGroupRules": denied}}
    with pytest.raises(PolicyExecutionError, match="AccessDenied"):
        act(cloud, tmp_path, mode=RULE, **run)
    ((rule, resource, verdict, annotation, captured),) = evaluations()
    assert (rule, resource, verdict) == ("a-rule", group_id, "NON_COMPLIANT")
    assert annotation == "Not compliant with policy:a-policy, whose action failed."
    assert captured
    for more in (
        {"mode": DAILY, **run},
        {"mode": RULE, **run, "event": {"detail": {}}},
        {"mode": RULE, **run, "event": None},
    ):
        with pytest.raises(PolicyExecutionError, match="AccessDenied"):
            act(cloud, tmp_path, **more)
    assert len(evaluations()) == 1
    calls = run["before"] | {"PutEvaluations": denied}
    with pytest.raises(PolicyExecutionError, match=r"AccessDenied.* \(and 1 more, see the log\)"):
        act(cloud, tmp_path, mode=RULE, **{**run, "before": calls})
    assert "AWS Config did not accept that the group is open" in caplog.messages
    says = "replace-ingress: AWS Config did not accept that the group is open: An error occurred (AccessDenied)"
    assert any(message.startswith(says) for message in caplog.messages)


def test_a_list_of_recipients(cloud, group, tmp_path):
    """Recipients from a list come after those of the policy; its address and expression may name the policy."""
    s3 = cloud.session().client("s3")
    s3.create_bucket(Bucket="lists")
    s3.put_object(
        Bucket="lists", Key="a-policy.json", Body=json.dumps({"a-policy": ["us@example.com"], "cc": ["cc@example.com"]})
    )
    url = "s3://lists/{policy[name]}.json"
    lists = {"to_from": {"url": url, "expr": '"{policy[name]}"'}, "cc_from": {"url": url, "expr": "cc"}}
    group(SSH)
    topic = "arn:{partition}:sns:{region}:{account_id}:a"
    act(cloud, tmp_path, **OWN | {"notify": {**NOTIFY, "to": [topic, "me@example.com"], "cc": [topic], **lists}})
    (message,) = messages(cloud)
    assert message["action"]["to"] == [f"arn:aws:sns:us-east-1:{ACCOUNT}:a", "me@example.com", "us@example.com"]
    assert message["action"]["cc"] == [f"arn:aws:sns:us-east-1:{ACCOUNT}:a", "cc@example.com"]
    assert message["action"]["type"] == "notify"


def test_what_a_message_says_of_a_group(cloud, group, tmp_path):
    """A closed group has its records, the command that undoes them, and its manager; a preview has no command."""
    group_id = group(SSH, Tags=[{"Key": "aws:cloudformation:stack-name", "Value": "web"}])
    for preview in (True, False):
        records = act(cloud, tmp_path, preview=preview, **OWN)
        (message,) = messages(cloud)
        (resource,) = message["resources"]
        done = "1 rule would be replaced in 1 group" if preview else "1 rule replaced in 1 group"
        assert message["action"]["subject"] == f"Open ingress: {done} ({ACCOUNT} us-east-1)"
        without_tags = [{key: record[key] for key in record if key != "tags"} for record in records]
        assert resource["c7n:replaced-ingress"] == without_tags
        assert resource.get("c7n:preview-ingress", False) is preview
        undo = resource.get("c7n:undo-ingress", [])
        assert len(undo) == (not preview)
        assert all(f"c7n-ingress undo {group_id} --run {records[0]['run']}" in line for line in undo)
        assert "CloudFormation" in json.dumps(resource["c7n:managed-ingress"])


def test_tags_of_a_rule_hide_no_change(cloud, group, tmp_path):
    """A message has each change of a group, however long the tags of its rules are: they are in the log alone."""
    make_queue(cloud)
    group_id = group(SSH)
    tags = [{"Key": f"{n}" + "\N{LOCK}" * 126, "Value": "\N{LOCK}" * 256} for n in range(50)]
    (rule,) = rules_of(group_id)
    cloud.session().client("ec2").create_tags(Resources=[rule], Tags=tags)
    (record,) = act(cloud, tmp_path, authorized=["198.18.7.0/24"], notify=NOTIFY)
    assert len(record["tags"]) == 50
    ((resource,),) = (message["resources"] for message in messages(cloud))
    (change,) = resource["c7n:replaced-ingress"]
    assert change == {key: record[key] for key in record if key != "tags"}


def test_what_failed_is_reported_and_raised(cloud, group, tmp_path, caplog):
    """A message that cannot be sent fails the run after the changes; the log has the reason."""
    group(SSH)
    says = "replace-ingress: the notification could not be sent to custodian-mailer: allow it, "
    with pytest.raises(PolicyExecutionError, match=says):
        act(cloud, tmp_path, before={"SendMessage": denied}, **OWN)
    assert made_changes(cloud) == ["ModifySecurityGroupRules"]
    assert "the notification could not be sent" in caplog.messages


CALL = {
    "eventName": "AuthorizeSecurityGroupIngress",
    "eventTime": "2026-01-31T12:00:00Z",
    "userIdentity": {"type": "IAMUser", "arn": f"arn:aws:iam::{ACCOUNT}:user/jo", "userName": "jo", "principalId": "A"},
}


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (CALL, "Changed by jo (IAM user) on 2026-01-31 at 12:00 UTC."),
        ({**CALL, "userIdentity": {"type": "IAMUser", "arn": 5}}, None),
        ({"eventTime": CALL["eventTime"]}, None),
    ],
    ids=["a user", "an odd caller", "nobody"],
)
def test_who_opened_it(cloud, group, tmp_path, caplog, call, says):
    """The message says who made the call of the event; a call that cannot be read keeps no message from being sent."""
    group(SSH)
    act(cloud, tmp_path, event={"detail": call}, **OWN)
    (message,) = messages(cloud)
    (resource,) = message["resources"]
    assert resource.get("c7n:opened-ingress") == says
    owner = (message.get("event") or {}).get("detail", {}).get("userIdentity")
    assert owner == (CALL["userIdentity"] if says else None)
    is_odd = "userIdentity" in call and not says
    assert any("c7n:opened-ingress cannot be reported" in each for each in caplog.messages) is is_odd


def test_an_event_with_an_odd_rule(cloud, group, tmp_path):
    """A rule that the event names in another shape keeps no change from being recorded and reported."""
    group(SSH)
    update = {"SecurityGroupRuleId": ["sgr-1"], "SecurityGroupRule": {}}
    request = {"ModifySecurityGroupRulesRequest": {"GroupId": "sg-1", "SecurityGroupRule": update}}
    (record,) = act(cloud, tmp_path, event={"detail": {**CALL, "requestParameters": request}}, **OWN)
    (resource,) = resources(cloud).values()
    assert [each["rule"] for each in resource["c7n:replaced-ingress"]] == [record["rule"]]


def test_an_hour_that_is_full(cloud, group, tmp_path):
    """On events, a group over the limit is reported once: by the first attempt whose message can be sent."""
    make_table(cloud)
    first, second = group(SSH, number=1), group(SSH, number=2)
    limited = {**OWN, "at-most": 1, "mode": RULE, "event": {"detail": {}}}
    with pytest.raises(PolicyExecutionError, match=r"at-most is 1, .* \(and 1 more, see the log\)"):
        act(cloud, tmp_path, before={"SendMessage": denied}, **limited)
    assert made_changes(cloud) == ["ModifySecurityGroupRules"]
    for sent in ([second], []):
        with pytest.raises(PolicyExecutionError, match="at-most is 1, "):
            act(cloud, tmp_path, **limited)
        assert [*resources(cloud)] == sent
    assert first < second


def test_an_odd_group(cloud, group, tmp_path, caplog):
    """If what was looked up about a group has no usable form, the group is reported without it."""
    group_id = group(SSH, Tags=[{"Key": "Name", "Value": "web"}])

    def distort(parsed, **_):
        for each in parsed["SecurityGroups"]:
            if each["GroupId"] == group_id:
                each["Tags"][0].pop("Value")

    act(cloud, tmp_path, after={"DescribeSecurityGroups": distort}, preview=True, **OWN)
    (resource,) = resources(cloud).values()
    assert (resource["c7n:preview-ingress"], len(resource["c7n:replaced-ingress"])) == (True, 1)
    assert f"{group_id}: c7n:managed-ingress cannot be reported" in caplog.messages


def test_more_than_one_message(cloud, group, tmp_path, monkeypatch):
    """If several messages cannot be sent, one failure says so; the others of the run are counted."""
    monkeypatch.setattr("c7n_ingress.decide.message.MESSAGE_SIZE", 100)
    for number in (1, 2):
        group(SSH, number=number)
    sent = []
    with pytest.raises(PolicyExecutionError) as raised:
        act(cloud, tmp_path, before={"SendMessage": lambda **_: sent.append(1) or denied()}, **OWN)
    assert len(sent) == 2
    assert "more, see the log" not in str(raised.value)
