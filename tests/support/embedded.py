"""What tests do on the embedded AWS as people do on theirs: put groups in, edit a policy, run the command, look."""

import base64
import json
import re
import sys
import zlib
from datetime import datetime, timedelta, timezone
from functools import cache
from pathlib import Path

from botocore.exceptions import ClientError
from c7n.config import Config
from c7n.policy import PolicyCollection
from c7n.resources import load_resources
from c7n.utils import format_string_values, reset_session_cache, yaml_load
from c7n.varfmt import VarFormat
from moto.ec2.models import ec2_backends

from c7n_ingress.decide.brake import TABLE
from c7n_ingress.decide.settings import DEFAULTS, OPTIONAL
from c7n_ingress_tools.embedded_aws import logs
from c7n_ingress_tools.embedded_aws.ec2 import load_groups, load_prefix_list
from tests.support.cases import ROOT, cases, permission
from tests.support.forked import forked

POLICIES = sorted((ROOT / "policies").glob("*.yml"))
CUSTODIAN = Path(sys.executable).with_name("custodian")
ACCOUNT = "123456789012"
VPC = "vpc-0f00000000000001"
MUTATING = {"AuthorizeSecurityGroupIngress", "ModifySecurityGroupRules", "RevokeSecurityGroupIngress"}

OPEN = [{"or": [{"type": "ingress", "Cidr": "0.0.0.0/0"}, {"type": "ingress", "CidrV6": "::/0"}]}]
NOTIFY = {
    "to": ["arn:aws:sns:us-east-1:123456789012:open-ingress"],
    "template": "open-ingress",
    "transport": {"type": "sqs", "queue": "custodian-mailer"},
}


def ids(*numbers):
    """Return the ids of the groups that `group_of` makes with these numbers."""
    return [f"sg-{number:017x}" for number in numbers]


def aws_error(code, operation="Call", message="no", status=400):
    """Return the error that a call of AWS raises if the answer has this code."""
    answer = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, operation)


def group_of(case, number):
    """Return a case's group as `aws ec2 describe-security-groups` would print it."""
    return {
        "GroupId": ids(number)[0],
        "GroupName": case["name"],
        "Description": "a case",
        "OwnerId": ACCOUNT,
        "VpcId": VPC,
        "Tags": [{"Key": key, "Value": day(value)} for key, value in case.get("tags", {}).items()],
        "IpPermissions": [permission(rule) for rule in case["ingress"]],
        "IpPermissionsEgress": [{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}],
    }


def day(text):
    """Return the date for "+30": the day in thirty days, UTC. Any other text stays as it is."""
    if not text.startswith("+"):
        return text
    return (datetime.now(timezone.utc).date() + timedelta(days=int(text))).isoformat()


def shape(rule):
    """Return what a rule lets in, and how it is described, without its id."""
    ports = (rule.get("FromPort", -1), rule.get("ToPort", -1))
    return rule["IpProtocol"], *ports, source_of(rule), rule.get("Description")


def wanted_shape(rule):
    """Return the same of a case's rule, as EC2 describes it."""
    written = permission(rule)
    protocol = {"58": "icmpv6"}.get(written["IpProtocol"], written["IpProtocol"])
    ports = (written.get("FromPort", -1), written.get("ToPort", -1))
    return protocol, *ports, rule["source"], rule.get("description")


def check(case, before, after):
    """Compare a group's rules, by id, with what its case says of them."""
    wanted, gone = case.get("afterwards"), case.get("gone", [])
    if wanted is None:
        assert after == before
        return
    assert {rule["was"] for rule in wanted if "was" in rule} <= {source_of(rule) for rule in before.values()}
    of_same_traffic = lambda rule, other: (rule["IpProtocol"], rule["FromPort"]) == (other[0], other[1])
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
            assert [tag for tag in after[rule_id]["Tags"] if not tag["Key"].startswith("c7n-ingress:")] == rule["Tags"]
        else:
            assert after[rule_id] == rule, "the rule was to stay as it is"
    new = sorted(shape(rule) for rule_id, rule in after.items() if rule_id not in before)
    assert new == sorted(wanted_shape(rule) for rule in wanted if "was" not in rule)


def load(groups, region="us-east-1"):
    """Put groups into EC2 as they are, with the prefix lists that the cases know."""
    for list_id, entries in PREFIX_LISTS.items():
        load_prefix_list(list_id, entries, region=region)
    load_groups(groups, region)


def rules_of(group_id):
    """Return the group's ingress rules as they are, by id: what EC2 answers, from where it takes that.

    Tests look at rules so often that a call for each look was a quarter of what the properties take.
    """
    found = ec2_backends[ACCOUNT]["us-east-1"].candidates({"group-id": [group_id]})
    return {
        rule["SecurityGroupRuleId"]: rule
        for group in found
        for rule in map(group.described_rule, group.seen_rules())
        if not rule["IsEgress"]
    }


def source_of(rule):
    """Return a rule's source as text."""
    return (
        rule.get("CidrIpv4")
        or rule.get("CidrIpv6")
        or rule.get("PrefixListId")
        or rule["ReferencedGroupInfo"]["GroupId"]
    )


@cache
def _shipped():
    """Return each policy of the pack by its name, with its file."""
    return {each["name"]: (path, each) for path in POLICIES for each in yaml_load(path.read_text())["policies"]}


def policy_named(name):
    """Return a copy of a policy of the pack, as its file has it."""
    _, policy = _shipped()[name]
    return json.loads(json.dumps(policy))


def filled(name, authorized, **more):
    """Return a policy of the pack with a user's settings in it, as the zip of a deployed policy has them."""
    given = {**DEFAULTS, **dict.fromkeys(OPTIONAL), **_given(authorized, more)}
    return format_string_values(policy_named(name), formatter=VarFormat().format, **given)


def _given(authorized, more):
    """Return settings by their keys, in which the caller has written underscores instead of hyphens."""
    return {"authorized": [*authorized], **{key.replace("_", "-"): value for key, value in more.items()}}


def settings(folder, authorized, **more):
    """Write a user's settings, and return their file."""
    path = Path(folder) / "settings.json"
    path.write_text(json.dumps(_given(authorized, more)))
    return path


def shipped(names, folder, authorized, change=None, **more):
    """Return the arguments with which `custodian` runs one or several policies of the pack with a user's settings.

    A function may change a copy of each policy, as a user does who writes one.
    """
    names = [names] if isinstance(names, str) else names
    given = ["--vars-file", settings(folder, authorized, **more)]
    if change is None:
        chosen = [word for name in names for word in ("-p", name)]
        return [*given, *chosen, *dict.fromkeys(_shipped()[name][0] for name in names)]
    policies = [policy_named(name) for name in names]
    for policy in policies:
        change(policy)
    path = Path(folder) / f"{names[0]}.json"
    path.write_text(json.dumps({"policies": policies}))
    return [*given, path]


def custodian(cloud, *arguments, region="us-east-1", account=ACCOUNT):
    """Run the stock command against the embedded AWS."""
    return forked([CUSTODIAN, *arguments], env=cloud.environment(region, account), cwd=ROOT)


def run(cloud, policy, folder, *arguments):
    """Run a policy file, or what `shipped` returns, on everything, past c7n's cache."""
    policy = policy if isinstance(policy, list) else [policy]
    return custodian(cloud, "run", "--region", "us-east-1", "--cache-period", "0", "-s", folder, *policy, *arguments)


@cache
def watched(cloud):
    """Return the session by which actions call AWS, kept for its clients, and what happens when: by moment and call."""
    session, happens = cloud.new_session(), {}

    def watch(event_name, **details):
        moment, _, operation = event_name.split(".")
        return happens[moment].get(operation, lambda **_: None)(event_name=event_name, **details)

    for moment in ("before-call", "after-call"):
        session.events.register(f"{moment}.*.*", watch)
    return session, happens


def loaded(data, folder, session=None, **options):
    """Return a policy as c7n loads it, in this process."""
    load_resources(("aws.security-group",))
    config = Config.empty(region="us-east-1", account_id=ACCOUNT, output_dir=str(folder), **options)
    (policy,) = PolicyCollection.from_data({"policies": [data]}, config, session and (lambda **_: session))
    return policy


def act(cloud, folder, before=None, after=None, filters=OPEN, mode=None, event=None, **action):
    """Run a policy's filters and its action in this process, and return the records.

    Just before AWS is called, `before` has something happen: {operation: function}; just after, so does `after`.
    """
    session, happens = watched(cloud)
    happens.update({"before-call": before or {}, "after-call": after or {}})
    reset_session_cache()
    data = {"name": "a-policy", "resource": "aws.security-group", "filters": filters}
    data |= {"actions": [{"type": "replace-ingress", **action}], **({"mode": mode} if mode else {})}
    policy = loaded(data, folder, session)
    policy.validate()
    (action,) = policy.resource_manager.actions
    with policy.ctx:
        return action.process(policy.resource_manager.resources(), event)


def records(log):
    """Return the records in a run's log: that of c7n, or what a terminal shows."""
    lines = re.findall(r"custodian\.journal(?::INFO | - INFO - )(\{.*)", log)
    return [json.loads(line) for line in lines]


LOG_GROUP = "/aws/lambda/custodian-open-ingress"


def journal(records, log_group=LOG_GROUP):
    """Put records, or lines of text, into CloudWatch Logs as a function's log, and return what `from` says then."""
    lines = [each if isinstance(each, str) else json.dumps(each) for each in records]
    logs.write(ACCOUNT, "us-east-1", log_group, "a-stream", lines)
    return {"log-groups": [log_group]}


def make_queue(cloud):
    """Make the queue on which c7n-mailer waits, and return its URL."""
    return cloud.session().client("sqs").create_queue(QueueName="custodian-mailer")["QueueUrl"]


def make_table(cloud):
    """Create the table of the brake."""
    cloud.session().client("dynamodb").create_table(
        TableName=TABLE,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
    )


def messages(cloud, account=ACCOUNT):
    """Take all messages for c7n-mailer from an account's queue, unpacked."""
    sqs = cloud.session(account=account).client("sqs")
    url = sqs.get_queue_url(QueueName="custodian-mailer")["QueueUrl"]
    found = []
    while batch := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
        found += [json.loads(zlib.decompress(base64.b64decode(message["Body"]))) for message in batch]
        for message in batch:
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return found


def undo_lines(cloud, name):
    """Return the lines that undo what was done to a group of this name, as its message has them."""
    resources = [resource for message in messages(cloud) for resource in message["resources"]]
    return [line for each in resources if each["GroupName"] == name for line in each["c7n:undo-ingress"]]


def as_the_message_has_it(lines, command):
    """Return the message's line that is the documentation's command but for its values."""
    (line,) = lines
    values = re.compile(r"(?<=--run )\S+|(?<=--region )\S+|sg-[0-9a-f…]+|(?<=--journal )\S+")
    assert values.sub("…", line).partition(" --journal")[0] == values.sub("…", command).partition(" --journal")[0]
    return line


def made_changes(cloud):
    """Return the names of the calls that changed rules, in order."""
    return [call.action for call in cloud.calls if call.action in MUTATING]


CASES_OF_OPEN_INGRESS = [
    (case, group_of(case, number)) for number, case in enumerate(cases("open-ingress")["groups"], 1)
]
"""The cases of the open-ingress policies, each with its group."""

PREFIX_LISTS = cases("open-ingress")["prefix-lists"]
"""What the prefix lists hold that the cases refer to."""
