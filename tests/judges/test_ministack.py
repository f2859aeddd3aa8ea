"""One event on MiniStack, which emulates AWS and shares no code with moto: from the stack to the undo."""

import json
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from c7n_ingress_tools.embedded_aws.config import configuration_item, event
from c7n_ingress_tools.embedded_aws.server import Cloud
from tests.support.docs import blocks, commands
from tests.support.embedded import source_of
from tests.support.followed import NETWORKS, copied, typed
from tests.support.stacked import inbox

RULE = "custodian-open-ingress"
IPV4, IPV6 = NETWORKS
LONGEST = 60
"""How many seconds may pass until a message is delivered."""


class Pack(NamedTuple):
    """The deployed pack."""

    cloud: Cloud
    folder: Path

    def client(self, service):
        """Return the client of a service."""
        return self.cloud.session().client(service)

    def rules(self, group_id):
        """Return a group's ingress rules, by id."""
        filters = [{"Name": "group-id", "Values": [group_id]}]
        found = self.client("ec2").describe_security_group_rules(Filters=filters)["SecurityGroupRules"]
        return {rule["SecurityGroupRuleId"]: rule for rule in found if not rule["IsEgress"]}


@pytest.fixture(scope="module")
def pack(ministack, tmp_path_factory):
    """Deploy a copy of the pack by the commands of docs/deploy.md."""
    folder = copied(tmp_path_factory.mktemp("pack"))
    for block in blocks("docs/deploy.md", "Steps"):
        for command in commands(block):
            if not command.startswith("python3 -m venv"):
                typed(ministack, folder, command)
    return Pack(ministack, folder)


@pytest.fixture(scope="module")
def groups(pack):
    """Create two open groups, and return their ids. A rule of the first one has a prefix list as its source."""
    ec2 = pack.client("ec2")
    halves = [{"Cidr": "0.0.0.0/1"}, {"Cidr": "128.0.0.0/1"}]
    everybody = ec2.create_managed_prefix_list(
        PrefixListName="everybody", AddressFamily="IPv4", MaxEntries=2, Entries=halves
    )["PrefixList"]["PrefixListId"]
    first, second = (
        ec2.create_security_group(GroupName=name, Description="a case")["GroupId"] for name in ("bastion", "neighbor")
    )
    for group_id, port, source in [
        (first, 22, {"IpRanges": [{"CidrIp": "0.0.0.0/0", "Description": "from anywhere"}]}),
        (first, 22, {"Ipv6Ranges": [{"CidrIpv6": "::/0"}]}),
        (first, 3389, {"PrefixListIds": [{"PrefixListId": everybody}]}),
        (first, 443, {"IpRanges": [{"CidrIp": "10.0.0.0/8"}]}),
        (second, 22, {"IpRanges": [{"CidrIp": "0.0.0.0/0"}]}),
    ]:
        permission = {"IpProtocol": "tcp", "FromPort": port, "ToPort": port, **source}
        ec2.authorize_security_group_ingress(GroupId=group_id, IpPermissions=[permission])
    return first, second


class Closed(NamedTuple):
    """What an event did to the first group."""

    before: dict
    after: dict
    message: dict
    """What a subscriber of the topic got."""


@pytest.fixture(scope="module")
def closed(pack, groups):
    """Invoke the deployed function with AWS Config's event for the first group, and wait for the message."""
    take, (group_id, _) = inbox(pack.cloud), groups
    before = pack.rules(group_id)
    (group,) = pack.client("ec2").describe_security_groups(GroupIds=[group_id])["SecurityGroups"]
    sent = json.dumps(event(configuration_item(group), RULE))
    done = pack.client("lambda").invoke(FunctionName=RULE, Payload=sent)
    assert "FunctionError" not in done, done["Payload"].read()
    (message,) = in_time(take)
    return Closed(before, pack.rules(group_id), message)


def in_time(look):
    """Look until something is there, and return it."""
    end = time.monotonic() + LONGEST
    while not (found := look()) and time.monotonic() < end:
        time.sleep(0.2)
    return found


def shapes(rules):
    """Return what rules let in, and how they are described."""
    return {(rule["FromPort"], source_of(rule), rule.get("Description")) for rule in rules.values()}


def test_the_stack(pack):
    """The commands of docs/deploy.md create all resources of the stack, the policies' functions and the mailer."""
    (stack,) = pack.client("cloudformation").describe_stacks(StackName="open-ingress")["Stacks"]
    listed = pack.client("cloudformation").describe_stack_resources(StackName="open-ingress")["StackResources"]
    functions = {each["FunctionName"] for each in pack.client("lambda").list_functions()["Functions"]}
    assert stack["StackStatus"] == "CREATE_COMPLETE"
    assert {each["ResourceStatus"] for each in listed} == {"CREATE_COMPLETE"}
    assert {RULE, f"{RULE}-cloudtrail", f"{RULE}-daily", f"{RULE}-exempt", "custodian-mailer"} <= functions


def test_an_event_closes_the_group(pack, closed, groups):
    """Open rules of the event's group get authorized sources and keep their ids. Nothing else is changed."""
    sources = {source_of(rule): rule_id for rule_id, rule in closed.before.items()}
    assert source_of(closed.after[sources["0.0.0.0/0"]]) == IPV4
    assert source_of(closed.after[sources["::/0"]]) == IPV6
    assert closed.after[sources["10.0.0.0/8"]] == closed.before[sources["10.0.0.0/8"]]
    assert shapes(closed.after) == {
        (22, IPV4, "from anywhere"),
        (22, IPV6, None),
        (3389, IPV4, None),
        (443, "10.0.0.0/8", None),
    }
    assert shapes(pack.rules(groups[1])) == {(22, "0.0.0.0/0", None)}


def test_the_verdict(pack, closed, groups):
    """AWS Config gets the verdict on the group."""
    assert closed.after
    (result,) = pack.client("config").get_compliance_details_by_config_rule(ConfigRuleName=RULE)["EvaluationResults"]
    about = result["EvaluationResultIdentifier"]["EvaluationResultQualifier"]
    assert (about["ResourceId"], result["ComplianceType"]) == (groups[0], "NON_COMPLIANT")


def test_the_mailer_delivers_to_sns(pack, closed, groups):
    """SQS invokes the mailer. A subscriber of the topic gets one message about the group, and the queue is empty."""
    assert f'CLOSED: {groups[0]} "bastion"' in closed.message["Message"]
    url = pack.client("sqs").get_queue_url(QueueName="custodian-mailer")["QueueUrl"]
    counts = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    ask = lambda: pack.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=counts)["Attributes"]
    assert in_time(lambda: {*ask().values()} == {"0"})


@pytest.mark.usefixtures("closed")
def test_a_rehearsal(pack, groups, tmp_path):
    """`rehearse --live` reads the groups of MiniStack and changes none of them."""
    before = [pack.rules(group_id) for group_id in groups]
    command = f"c7n-ingress rehearse --live --region us-east-1 --authorized {','.join(NETWORKS)} --json"
    rows = json.loads(typed(pack.cloud, tmp_path, command))["rows"]
    assert [(row["name"], row["state"]) for row in rows] == [("neighbor", "closed")]
    assert [pack.rules(group_id) for group_id in groups] == before


def test_the_command_of_the_message_undoes_it(pack, closed, groups):
    """The command of the message reads the records in the function's log, and restores the rules."""
    (line,) = [line for line in closed.message["Message"].splitlines() if "c7n-ingress undo" in line]
    typed(pack.cloud, pack.folder, f"{line.strip()} --yes")
    assert shapes(pack.rules(groups[0])) == shapes(closed.before)
