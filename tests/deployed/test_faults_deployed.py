import asyncio
import base64
import itertools
import json
import re
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from c7n_ingress_tools.embedded_aws.config import configuration_item, event
from c7n_ingress_tools.functions.runtime import FunctionError, deployed
from c7n_ingress_tools.mailer import deploy as deploy_mailer
from c7n_ingress_tools.mailer import preview
from tests.support.embedded import (
    NOTIFY,
    group_of,
    load,
    make_queue,
    messages,
    records,
    rules_of,
    run,
    shipped,
    source_of,
)
from tests.support.faults import CASES, rules
from tests.support.search import by_day

RULE = "custodian-open-ingress"
SSH = {"protocol": "tcp", "ports": 22, "source": "0.0.0.0/0"}
AUTHORIZED = ["198.18.7.0/24", "2001:2:0:7::/64"]
ITEMS, PROCESSES = by_day(50, at_night=1000), by_day(4, at_night=30)


@pytest.fixture
def aws(failing_aws):
    """Return AWS behind the proxy, with no fault yet. Two attempts: botocore waits a second at most."""
    failing_aws.proxy.heal()
    failing_aws.attempts = 2
    return failing_aws


def open_group(number):
    """Put an open group into EC2, and return it."""
    group = group_of({"name": f"group {number}", "ingress": [SSH]}, number)
    load([group])
    return group


def sources(group):
    """Return the sources of a group's rules."""
    return [source_of(rule) for rule in rules_of(group["GroupId"]).values()]


def reported(cloud):
    """Return the records that were sent."""
    resources = [resource for message in messages(cloud) for resource in message["resources"]]
    return [record for resource in resources for record in resource["c7n:replaced-ingress"]]


def logged(log):
    """Return the records in a Lambda's log."""
    return [json.loads(line) for line in re.findall(r'{"v".*}', log)]


CALLS = {call["name"]: call for call in CASES["calls"]}
CALLS["evaluate"] = {"service": "config", "operation": "PutEvaluations"}
FAULTS = {fault["name"]: fault for fault in CASES["faults"]}


# -- the deployed function


@pytest.fixture(scope="module")
def function(embedded_aws, failing_aws, tmp_path_factory):
    """Deploy open-ingress, and return its Lambda, whose calls go through the proxy."""
    folder = tmp_path_factory.mktemp("deployed")
    embedded_aws.reset()
    make_queue(embedded_aws)
    deploy(embedded_aws, folder)
    with deployed(replace(failing_aws, attempts=2), RULE, folder=folder) as function:
        yield function


def deploy(cloud, folder, policy="open-ingress", change=None):
    """Make the stock command deploy a policy with a change, and return its name."""
    role = {"RoleName": "custodian-open-ingress", "AssumeRolePolicyDocument": "{}"}
    cloud.session().client("iam").create_role(**role)
    cloud.session().client("sqs").create_queue(QueueName="custodian-open-ingress-failed")
    result = run(cloud, shipped(policy, folder, AUTHORIZED, change), folder)
    assert result.returncode == 0, result.stderr
    return policy


# These are about one function, so AWS is not emptied between them: each has a group of its own.
GROUPS = itertools.count(1)
BEFORE_THE_CHANGE = [("read groups", "unavailable"), ("read rules", "denied"), ("modify", "denied")]
AFTER_THE_CHANGE = [
    ("send", "denied"),
    ("send", "unavailable"),
    ("evaluate", "throttled"),
    ("evaluate", "reset after"),
    ("evaluate", "denied"),
]


@pytest.mark.parametrize("fault", BEFORE_THE_CHANGE + AFTER_THE_CHANGE, ids=" ".join)
def test_a_lasting_fault_fails_the_function(embedded_aws, aws, function, fault):
    """A lasting fault fails the function, whose log has what was done; the next delivery of the item finishes."""
    group, was_closed = open_group(next(GROUPS)), fault in AFTER_THE_CHANGE
    item = event(configuration_item(group), RULE)
    aws.proxy.breaks(*rules(CALLS[fault[0]], [FAULTS[fault[1]]]))
    with pytest.raises(FunctionError) as failed:
        function.invoke(item)
    assert aws.proxy.fired
    assert (sources(group) == AUTHORIZED[:1]) == was_closed
    assert len(logged(failed.value.log)) == was_closed
    assert {record["group"] for record in reported(embedded_aws)} <= ({group["GroupId"]} if was_closed else set())

    aws.proxy.heal()
    function.invoke(item)
    assert sources(group) == AUTHORIZED[:1]
    assert embedded_aws.evaluations[-1].resource == group["GroupId"]
    assert len(reported(embedded_aws)) == (not was_closed)


def test_two_lasting_faults_are_both_reported(embedded_aws, aws, function):
    """Where AWS Config does not take the verdict either, the failure of the change is not hidden by that."""
    group = open_group(next(GROUPS))
    aws.proxy.breaks(*rules(CALLS["modify"], [FAULTS["denied"]]), *rules(CALLS["evaluate"], [FAULTS["denied"]]))
    with pytest.raises(FunctionError, match=r"ModifySecurityGroupRules.*and 1 more") as failed:
        function.invoke(event(configuration_item(group), RULE))
    assert "AWS Config did not accept that the group is open" in failed.value.log
    (message,) = messages(embedded_aws)
    assert [resource["GroupId"] for resource in message["resources"]] == [group["GroupId"]]


@pytest.mark.parametrize("fault", ["throttled", "internal error", "unavailable", "reset before", "reset after"])
@pytest.mark.parametrize("call", ["modify", "send", "evaluate"])
def test_a_passing_fault_does_not_show(embedded_aws, aws, function, call, fault):
    """A fault that passes is made up for by another attempt."""
    group = open_group(next(GROUPS))
    aws.proxy.breaks(*rules(CALLS[call], [FAULTS[fault]], times=1))
    function.invoke(event(configuration_item(group), RULE))
    assert aws.proxy.fired
    assert sources(group) == AUTHORIZED[:1]
    assert {record["group"] for record in reported(embedded_aws)} == {group["GroupId"]}
    said = {each.verdict for each in embedded_aws.evaluations if each.resource == group["GroupId"]}
    assert said == {"NON_COMPLIANT"}


@pytest.mark.parametrize("fault", ["throttled", "internal error", "reset before", "denied"])
def test_an_alias_that_cannot_be_had(embedded_aws, aws, function, fault):
    """A message that cannot have the account's alias is sent without it; the next one has it."""
    embedded_aws.session().client("iam").create_account_alias(AccountAlias="the-alias")
    function.stop()  # who has an alias keeps it; the next event starts a new process
    embedded_aws.calls.clear()
    aliases = []
    for broken in ([FAULTS[fault]], [], []):
        group = open_group(next(GROUPS))
        aws.proxy.breaks(*rules(CALLS["list aliases"], broken))
        function.invoke(event(configuration_item(group), RULE))
        assert bool(aws.proxy.fired) == bool(broken)
        aws.proxy.heal()
        assert sources(group) == AUTHORIZED[:1]
        aliases += [message["account"] for message in messages(embedded_aws)]
    assert aliases == ["", "the-alias", "the-alias"]
    assert [each.action for each in embedded_aws.calls].count("ListAccountAliases") == 1


# -- the command


@pytest.mark.parametrize(("call", "fault"), [("modify", "denied"), ("modify", "unavailable"), ("send", "unavailable")])
def test_a_lasting_fault_fails_the_command(cloud, aws, tmp_path, call, fault):
    """With a lasting fault `custodian run` ends with exit code 2, and has said what it did and what went wrong."""
    group = open_group(1)
    make_queue(cloud)
    aws.proxy.breaks(*rules(CALLS[call], [FAULTS[fault]]))
    sweep = shipped("open-ingress-sweep", tmp_path, AUTHORIZED)
    failed = run(aws, sweep, tmp_path)
    assert failed.returncode == 2
    assert "replace-ingress: " in failed.stderr
    assert len(records((tmp_path / "open-ingress-sweep" / "custodian-run.log").read_text())) == (
        sources(group) == AUTHORIZED[:1]
    )

    aws.proxy.heal()
    assert run(aws, sweep, tmp_path).returncode == 0
    assert sources(group) == AUTHORIZED[:1]


# -- the time

LOOKS = "DescribeNetworkInterfaces"


@pytest.mark.parametrize(("call", "number"), [("ModifySecurityGroupRules", 2), (LOOKS, 1)], ids=["change", "look"])
def test_a_function_whose_time_runs_out(cloud, aws, tmp_path, call, number):
    """A function that waits for an answer until its time is nearly over reports what is done, and what is not."""
    groups = [open_group(1), open_group(2)]
    make_queue(cloud)
    policy = deploy(cloud, tmp_path, "open-ingress-daily", lambda policy: policy["mode"].update(timeout=10))
    calls = []

    async def hang(passing):
        calls.append(passing)
        if passing == call and calls.count(call) == number:
            await asyncio.sleep(3600)

    aws.proxy.passing(hang)
    with deployed(aws, f"custodian-{policy}", folder=tmp_path) as function:
        with pytest.raises(FunctionError, match="TimeoutError: the function's time was nearly over") as failed:
            function.invoke({})
        closed = {group["GroupId"] for group in groups if sources(group) == AUTHORIZED[:1]}
        assert len(closed) == (1 if call != LOOKS else 2)
        (message,) = messages(cloud)
        by_group = {each["GroupId"]: each for each in message["resources"]}
        hows = {key: [record["how"] for record in each["c7n:replaced-ingress"]] for key, each in by_group.items()}
        assert {key for key, how in hows.items() if how == ["modified"]} == closed
        for group_id in by_group.keys() - closed:
            assert hows[group_id] == ["perhaps modified"]
            assert by_group[group_id]["c7n:failed-ingress"][0].startswith("was not finished: the function's time")
        assert {each["c7n:behind-ingress"]["exposure"] for each in by_group.values()} == {"unknown"}
        assert [record["group"] for record in logged(failed.value.log)] == [*hows]

        aws.proxy.heal()
        function.invoke({})
    assert [sources(group) for group in groups] == [AUTHORIZED[:1]] * 2
    assert {record["group"] for record in reported(cloud)} == {group["GroupId"] for group in groups} - closed


# -- the mailer

TOPIC = NOTIFY["to"][0]
PUBLISH = {"service": "sns", "operation": "Publish"}


@pytest.fixture(scope="module")
def mailer(embedded_aws, failing_aws, tmp_path_factory):
    """Deploy the mailer, and return its Lambda, whose calls go through the proxy."""
    embedded_aws.reset()
    make_queue(embedded_aws)
    embedded_aws.session().client("iam").create_role(RoleName="custodian-mailer", AssumeRolePolicyDocument="{}")
    deploy_mailer.deploy(deploy_mailer.read_config(deploy_mailer.CONFIG), embedded_aws.session())
    client = embedded_aws.session().client("lambda")
    (mapping,) = client.list_event_source_mappings(FunctionName="custodian-mailer")["EventSourceMappings"]
    client.update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)
    folder = tmp_path_factory.mktemp("mailer")
    with deployed(replace(failing_aws, attempts=2), "custodian-mailer", folder=folder) as function:
        yield function


@pytest.fixture
def inbox(cloud):
    """Subscribe a queue to the topic, and return what reads from it."""
    sns, sqs = cloud.session().client("sns"), cloud.session().client("sqs")
    sns.create_topic(Name="open-ingress")
    url = sqs.create_queue(QueueName="inbox")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    sns.subscribe(TopicArn=TOPIC, Protocol="sqs", Endpoint=arn)
    return lambda: sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])


def handed_over():
    """Return the event with which SQS hands the sample message to the mailer."""
    message = preview.sample()
    message["action"]["to"] = [TOPIC]
    body = base64.b64encode(zlib.compress(json.dumps(message).encode())).decode()
    return {
        "Records": [
            {"messageId": f"message-{next(GROUPS)}", "body": body, "attributes": {"SentTimestamp": "1790000000000"}}
        ]
    }


@pytest.mark.parametrize("times", [1, None], ids=["once", "for good"])
@pytest.mark.parametrize("fault", [name for name in FAULTS if not name.startswith("unanswered")])
def test_any_fault_of_the_publish(aws, mailer, inbox, fault, times):
    """After any fault of the mailer's publish, the message is delivered, or SQS keeps it for another try."""
    aws.proxy.breaks(*rules(PUBLISH, [FAULTS[fault]], times=times))
    sent = handed_over()
    kept = mailer.invoke(sent)["batchItemFailures"]
    assert aws.proxy.fired
    passes = times and fault != "denied"
    assert kept == ([] if passes else [{"itemIdentifier": sent["Records"][0]["messageId"]}])
    arrived = bool(inbox())
    assert arrived == bool(passes or fault == "reset after")

    aws.proxy.heal()
    assert mailer.invoke(handed_over())["batchItemFailures"] == []
    assert inbox()


# -- a crowd


def test_many_items_at_once(cloud, aws, tmp_path):
    """However many items come in at once while a third of all calls is throttled, none of them is lost.

    An item whose function failed is delivered twice more and then dropped, as Lambda does.
    """
    groups = [open_group(number) for number in range(1, ITEMS + 1)]
    make_queue(cloud)
    deploy(cloud, tmp_path)
    aws.attempts = 5  # botocore's own default
    third = [
        rule | {"probability": 1 / 3}
        for service in CASES["services"]
        for rule in rules({"service": service}, [FAULTS["throttled"]])
    ]
    aws.proxy.breaks(*third)

    def deliver(group, times=3):
        try:
            function.invoke(event(configuration_item(group), RULE))
        except FunctionError as error:
            failures.append(error)
            deliver(group, times - 1) if times > 1 else given_up.append(group)

    failures, given_up = [], []
    with deployed(aws, RULE, processes=PROCESSES, folder=tmp_path) as function, ThreadPoolExecutor(PROCESSES) as pool:
        list(pool.map(deliver, groups))
        log = "".join(path.read_text() for path in function.logs)
    assert len(aws.proxy.fired) > ITEMS
    assert given_up == []
    assert [group["GroupName"] for group in groups if sources(group) != AUTHORIZED[:1]] == []
    assert {each.resource for each in cloud.evaluations} == {group["GroupId"] for group in groups}
    assert {record["group"] for record in logged(log)} == {group["GroupId"] for group in groups}
    unreported = {group["GroupId"] for group in groups} - {record["group"] for record in reported(cloud)}
    loud = " ".join(str(error) for error in failures)
    assert len(unreported) <= len(failures)
    assert not unreported or "the notification could not be sent" in loud
