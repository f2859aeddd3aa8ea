import json
import re
import time
from contextlib import ExitStack, contextmanager
from itertools import count

import pytest
from botocore.exceptions import ClientError
from moto.awslambda.models import LambdaFunction
from moto.sqs.exceptions import ReceiptHandleIsInvalid
from moto.sqs.models import SQSBackend

from c7n_ingress_tools.embedded_aws.config import configuration_item, event
from c7n_ingress_tools.functions.runtime import FunctionError
from c7n_ingress_tools.replay import QUEUE, function_of
from tests.support.docs import PAGES, blocks, commands
from tests.support.embedded import ACCOUNT, ROOT, group_of, load, rules_of, source_of
from tests.support.followed import DEPLOY, attempted, deployed_pack, follow, typed
from tests.support.kept import warm
from tests.support.stacked import poll, stop_polling

OPERATE = "docs/operate.md"
ALL_POLICIES = f"{DEPLOY} policies/open-ingress.yml policies/open-ingress-notice.yml mode/watch.yml"
(REPLAY,) = commands(blocks(OPERATE, "`custodian-open-ingress-failed`")[0])
SSH = {"protocol": "tcp", "ports": 22, "source": "0.0.0.0/0"}
CONFIG_RULE = "custodian-open-ingress"


@pytest.fixture
def pack(cloud, tmp_path):
    """Return a copy of the pack that was deployed as docs/deploy.md says."""
    return deployed_pack(cloud, tmp_path)


def functions(cloud):
    """Return the names of the Lambdas that are there."""
    return {each["FunctionName"] for each in cloud.session().client("lambda").list_functions()["Functions"]}


def rules(cloud):
    """Return the names of the Config rules and EventBridge rules that are there."""
    found = cloud.session().client("config").describe_config_rules()["ConfigRules"]
    return {each["ConfigRuleName"] for each in found} | {
        each["Name"] for each in cloud.session().client("events").list_rules()["Rules"]
    }


def mappings(cloud):
    """Return what hands messages to Lambdas."""
    return cloud.session().client("lambda").list_event_source_mappings()["EventSourceMappings"]


def open_group(number):
    """Put a group that lets SSH in from everywhere into EC2."""
    group = group_of({"name": f"group {number}", "ingress": [SSH]}, number)
    load([group])
    return group


def sources(group):
    """Return the sources of a group's rules."""
    return [source_of(rule) for rule in rules_of(group["GroupId"]).values()]


# ---- Upgrade


def test_an_upgrade(cloud, pack):
    """Deploying a new version over an old one takes nothing away, not for a moment, and changes what runs."""
    before = functions(cloud), rules(cloud), {each["UUID"] for each in mappings(cloud)}
    client = cloud.session().client("lambda")
    old = {name: client.get_function_configuration(FunctionName=name)["CodeSha256"] for name in functions(cloud)}
    for path in [
        *(pack / "policies").glob("*.yml"),
        pack / "mode" / "watch.yml",
        pack / "mode" / "mailer.yml",
    ]:
        path.write_text(path.read_text().replace("description: ", "description: New. "))
    cloud.calls.clear()
    _, policies, mailer = blocks("docs/deploy.md", "Steps")
    follow(cloud, pack, policies)
    follow(cloud, pack, mailer)
    stop_polling(cloud)
    calls = {call.action for call in cloud.calls}
    assert {"UpdateFunctionCode", "UpdateFunctionConfiguration"} <= calls
    assert not {call for call in calls if call.startswith(("Delete", "Remove", "Disable", "Stop"))}
    assert (functions(cloud), rules(cloud), {each["UUID"] for each in mappings(cloud)}) == before
    for name in functions(cloud) - {"custodian-mailer"}:
        now = client.get_function_configuration(FunctionName=name)
        assert (now["Description"][:5], now["CodeSha256"] == old[name]) == ("New. ", False), name


# ---- Switch it off


def test_switching_it_off(cloud, pack):
    """The page's lines show what goes and take all of it away, whichever policies were deployed; groups stay open."""
    typed(cloud, pack, ALL_POLICIES)
    group = open_group(1)
    there = functions(cloud)
    assert len(there) > 8
    assert rules(cloud) == {f"{name}" for name in there - {"custodian-mailer"}}
    look, leave, delete = commands(blocks("docs/deploy.md", "Switch it off")[0])
    shown = typed(cloud, pack, look)
    assert (functions(cloud), len(mappings(cloud))) == (there, 1)
    gone = typed(cloud, pack, leave)
    assert gone.splitlines() == [line.replace("would delete: ", "deleted: ") for line in shown.splitlines()]
    assert (functions(cloud), rules(cloud), mappings(cloud)) == (set(), set(), [])
    typed(cloud, pack, delete)
    with pytest.raises(ClientError, match="does not exist"):
        cloud.session().client("cloudformation").describe_stacks(StackName="open-ingress")
    assert sources(group) == ["0.0.0.0/0"]


def test_leaving_where_nothing_is(cloud):
    """In a region that has nothing of the pack, the command says so and fails."""
    done = attempted(cloud, ROOT, "c7n-ingress uninstall --region eu-west-1")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith("eu-west-1: nothing of the pack is here: is it the right account and region?\n")


def test_switching_off_what_is_half_gone(cloud, pack):
    """Rules whose Lambda somebody has deleted by hand go too; what is not the pack's stays."""
    client, config = cloud.session().client("lambda"), cloud.session().client("config")
    (rule,) = config.describe_config_rules(ConfigRuleNames=[CONFIG_RULE])["ConfigRules"]
    written = {key: rule[key] for key in ("Source", "Scope")}
    for name in ("custodian-other", "custodian-open-ingress2"):
        config.put_config_rule(ConfigRule={**written, "ConfigRuleName": name})
    client.delete_function(FunctionName=CONFIG_RULE)
    client.delete_function(FunctionName="custodian-open-ingress-daily")
    typed(cloud, pack, commands(blocks("docs/deploy.md", "Switch it off")[0])[1])
    assert (functions(cloud), rules(cloud)) == (set(), {"custodian-other", "custodian-open-ingress2"})


def test_the_mailer_stays_while_messages_wait(cloud, pack):
    """While a message waits, the mailer stays, and the command says so; after that it is deleted."""
    group, leave = open_group(1), commands(blocks("docs/deploy.md", "Switch it off")[0])[1]
    with warm(cloud, CONFIG_RULE) as policy:
        policy.invoke(event(configuration_item(group), CONFIG_RULE))
    done = attempted(cloud, pack, leave)
    assert done.returncode == 1
    assert "1 messages wait for the mailer" in done.stderr
    assert functions(cloud) == {"custodian-mailer"}
    with warm(cloud, "custodian-mailer") as mailer:
        assert poll(cloud.session(), mailer) == 1
    typed(cloud, pack, leave)
    assert functions(cloud) == set()


def test_changing_to_notice(cloud, pack):
    """A change to the policies with notice removes those that close at once, and the alarms for them."""
    typed(cloud, pack, f"{DEPLOY} policies/open-ingress-notice.yml")
    before = functions(cloud)
    follow(cloud, pack, blocks("docs/notice.md", "Change from closing at once to notice")[0])
    gone = {CONFIG_RULE, "custodian-open-ingress-daily", "custodian-open-ingress-cloudtrail"}
    miss_it = {"custodian-open-ingress-watch-recorder", "custodian-open-ingress-watch-rule"}
    assert before - functions(cloud) == gone | miss_it
    assert rules(cloud) == functions(cloud) - {"custodian-mailer"}


def test_changing_from_notice(cloud, pack):
    """A change to the policies that close at once leaves no mark on a closed group, and removes those with notice."""
    before = functions(cloud)
    typed(cloud, pack, f"{DEPLOY} policies/open-ingress-notice.yml")
    group = open_group(1)
    mark = [{"Key": "open-ingress-notice", "Value": "Open to the internet: replace-ingress@2026/01/31 1200 UTC"}]
    ec2 = cloud.session().client("ec2")
    ec2.create_tags(Resources=[group["GroupId"]], Tags=mark)
    for name in (CONFIG_RULE, "custodian-open-ingress-mended"):
        with warm(cloud, name) as function:
            function.invoke(event(configuration_item(group), name) if name == CONFIG_RULE else scheduled(name))
    (closed,) = ec2.describe_security_groups(GroupIds=[group["GroupId"]])["SecurityGroups"]
    assert sources(group) == ["198.18.7.0/24"]
    assert "open-ingress-notice" not in {tag["Key"] for tag in closed["Tags"]}
    follow(cloud, pack, blocks("docs/notice.md", "Change from notice to closing at once")[0])
    assert functions(cloud) == before


def test_the_watch_of_who_gives_notice(cloud, pack):
    """With notice from the start, exactly the parts of the watch are deployed that do not need AWS Config."""
    typed(cloud, pack, "c7n-ingress uninstall --region us-east-1")
    (names,) = re.findall(r"add\s+`(-p .*?)`", PAGES["docs/notice.md"])
    typed(cloud, pack, f"custodian run --region us-east-1 --vars-file settings.yml -s out {names} mode/watch.yml")
    assert functions(cloud) == {f"custodian-open-ingress-watch-{name}" for name in ("errors", "topic", "trigger")}


def test_a_name_that_is_not_there(cloud, pack):
    """A name with a slip in it takes nothing away, and is named."""
    before = functions(cloud)
    line = "c7n-ingress uninstall --region us-east-1 custodian-open-ingress custodian-open-ingres-daily"
    done = attempted(cloud, pack, line)
    assert done.returncode == 1
    assert "custodian-open-ingres-daily: no policy of the pack" in done.stderr
    assert functions(cloud) == before


# ---- Hand over again what failed


@contextmanager
def invoked(cloud, *names):
    """Make the embedded AWS answer Invoke by running what was deployed, as AWS does; moto uses Docker.

    https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html
    """
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        running = {name: stack.enter_context(warm(cloud, name)) for name in names}

        def invoke(function, body, _, response_headers):
            try:
                return json.dumps(running[function.function_name].invoke(json.loads(body))).encode()
            except FunctionError as error:
                response_headers["x-amz-function-error"] = "Unhandled"
                return json.dumps({"errorType": error.error_type, "errorMessage": error.error_message}).encode()

        patch.setattr(LambdaFunction, "invoke", invoke)
        yield


def put_by(cloud, *bodies):
    """Put events into the queue of those that failed three times, as Lambda does."""
    sqs = cloud.session().client("sqs")
    url = sqs.get_queue_url(QueueName=QUEUE)["QueueUrl"]
    for body in bodies:
        sqs.send_message(QueueUrl=url, MessageBody=body)


def failed(cloud):
    """Return the bodies of the messages that are in sight in the queue."""
    sqs = cloud.session().client("sqs")
    url = sqs.get_queue_url(QueueName=QUEUE)["QueueUrl"]
    return sorted(
        message["Body"]
        for message in sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=0).get(
            "Messages", ()
        )
    )


def scheduled(name):
    """Return the event that EventBridge sends by a schedule."""
    rule = f"arn:aws:events:us-east-1:{ACCOUNT}:rule/{name}"
    return {"source": "aws.events", "detail-type": "Scheduled Event", "resources": [rule], "detail": {}}


def called(group):
    """Return the event that EventBridge sends of a call."""
    detail = {
        "eventSource": "ec2.amazonaws.com",
        "eventName": "AuthorizeSecurityGroupIngress",
        "eventTime": "2026-09-21T14:12:00Z",
        "userIdentity": {"type": "IAMUser", "arn": f"arn:aws:iam::{ACCOUNT}:user/alex", "userName": "alex"},
        "requestParameters": {"groupId": group["GroupId"]},
        "awsRegion": "us-east-1",
    }
    return {"source": "aws.ec2", "detail-type": "AWS API Call via CloudTrail", "region": "us-east-1", "detail": detail}


def test_replay(cloud, pack):
    """Each event that failed is handed to its own function again; what succeeds leaves the queue, all else stays."""
    by_config, by_call, by_day = (open_group(number) for number in (1, 2, 3))
    broken = {"configRuleName": CONFIG_RULE, "invokingEvent": "{}"}
    not_ours = {"configRuleName": "orders"}
    names = [CONFIG_RULE, "custodian-open-ingress-daily", "custodian-open-ingress-cloudtrail"]
    with invoked(cloud, *names):
        put_by(cloud, json.dumps(event(configuration_item(by_config), CONFIG_RULE)), json.dumps(broken))
        put_by(cloud, json.dumps(called(by_call)), "no JSON", json.dumps(not_ours))
        done = attempted(cloud, pack, REPLAY)
        assert done.returncode == 1, done.stderr
        assert sources(by_config) == sources(by_call) == ["198.18.7.0/24"], done.stdout
        assert sources(by_day) == ["0.0.0.0/0"]
        assert failed(cloud) == sorted([json.dumps(broken), "no JSON", json.dumps(not_ours)])
        assert done.stdout.splitlines()[-1] == f"2 events done, 3 left in {QUEUE}"
        assert done.stdout.count(": done\n") == 2

        cloud.session().client("sqs").purge_queue(
            QueueUrl=cloud.session().client("sqs").get_queue_url(QueueName=QUEUE)["QueueUrl"]
        )
        put_by(cloud, json.dumps(scheduled("custodian-open-ingress-daily")))
        assert typed(cloud, pack, REPLAY).splitlines()[-1] == f"1 events done, 0 left in {QUEUE}"
        assert sources(by_day) == ["198.18.7.0/24"]
        assert failed(cloud) == []


def test_replay_without_the_function(cloud, pack):
    """An event whose function is gone stays, and the reason is named."""
    cloud.session().client("lambda").delete_function(FunctionName="custodian-open-ingress-cloudtrail")
    put_by(cloud, json.dumps(called(open_group(1))))
    done = attempted(cloud, pack, REPLAY)
    assert done.returncode == 1
    assert "custodian-open-ingress-cloudtrail: An error occurred (ResourceNotFoundException)" in done.stdout
    assert len(failed(cloud)) == 1


def test_replay_without_the_queue(cloud):
    """In a region without the queue, the replay ends with one line that names the region and the queue."""
    done = attempted(cloud, ROOT, REPLAY)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"c7n-ingress: us-east-1: there is no queue {QUEUE}: is it the right account and region?\n"


POISONED = {
    "nested too deeply": "[" * 100_000,
    "half of a character": '{"configRuleName": "custodian-open-ingress-\\ud800"}',
    "a terminal's escapes": json.dumps({"configRuleName": "custodian-open-ingress-\x1b[2J\x1b]0;title\x07"}),
    "too long": json.dumps({"configRuleName": f"custodian-open-ingress-{'x' * 2000}"}),
    "false results": f"x\ncustodian-open-ingress: done\n3 events done, 0 left in {QUEUE}",
}


@pytest.mark.parametrize("body", POISONED.values(), ids=POISONED)
def test_replay_of_a_bad_event(cloud, monkeypatch, body):
    """An event that is for no function is one line and stays in the queue, and the other events are run."""
    cloud.session().client("sqs").create_queue(QueueName=QUEUE)
    ran = []
    monkeypatch.setattr("moto.awslambda.models.LambdaBackend.invoke", lambda _, name, *__: ran.append(name) or b"{}")
    put_by(cloud, body, json.dumps({"configRuleName": CONFIG_RULE}))
    done = attempted(cloud, ROOT, REPLAY)
    assert (done.returncode, done.stderr, ran) == (1, "", [CONFIG_RULE])
    lines = done.stdout.splitlines()
    assert lines[1:] == [f"{CONFIG_RULE}: done", f"1 events done, 1 left in {QUEUE}"]
    assert lines[0].isprintable()
    assert failed(cloud) == [body]


def test_replay_sees_all_that_waits(cloud, monkeypatch):
    """What a short poll of SQS overlooks is handed over, and what somebody else has in hand counts as left."""
    monkeypatch.setattr(SQSBackend, "receive_message", overlooking(SQSBackend.receive_message))
    sqs = cloud.session().client("sqs")
    url = sqs.create_queue(QueueName=QUEUE)["QueueUrl"]
    put_by(cloud, "no JSON")
    done = attempted(cloud, ROOT, REPLAY)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (1, f"0 events done, 1 left in {QUEUE}")
    assert done.stdout.startswith("no JSON: ")

    sqs.receive_message(QueueUrl=url, VisibilityTimeout=600, WaitTimeSeconds=1)
    done = attempted(cloud, ROOT, REPLAY)
    assert (done.returncode, done.stdout) == (1, f"0 events done, 1 left in {QUEUE}\n")


def test_replay_of_slow_events(cloud, monkeypatch):
    """If events fail so slowly that the first is visible again, the replay ends, and all are visible at once."""
    cloud.session().client("sqs").create_queue(QueueName=QUEUE)
    clock = count(int(time.time() * 1000))
    monkeypatch.setattr("moto.sqs.models.unix_time_millis", lambda: next(clock))

    def fail_slowly(*values):
        nonlocal clock
        clock = count(next(clock) + 850_000)
        values[-1]["x-amz-function-error"] = "Unhandled"
        return b"{}"

    monkeypatch.setattr("moto.awslambda.models.LambdaBackend.invoke", fail_slowly)
    monkeypatch.setattr(SQSBackend, "change_message_visibility", in_flight(SQSBackend.change_message_visibility))
    put_by(cloud, *(json.dumps({"configRuleName": f"{CONFIG_RULE}-{number}"}) for number in (1, 2)))
    done = attempted(cloud, ROOT, REPLAY)
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.splitlines()[-1] == f"0 events done, 2 left in {QUEUE}"
    assert len(failed(cloud)) == 2


def in_flight(change):
    """Make SQS refuse a receipt that is not the last one of a message, or whose message is visible again.

    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ChangeMessageVisibility.html
    """

    def patched(self, queue_name, receipt_handle, visibility_timeout):
        (message,) = (each for each in self.get_queue(queue_name)._messages if each.had_receipt_handle(receipt_handle))
        if message.visible or message.receipt_handle != receipt_handle:
            raise ReceiptHandleIsInvalid
        return change(self, queue_name, receipt_handle, visibility_timeout)

    return patched


def overlooking(receive):
    """Make SQS find nothing unless the call waits, as a short poll may."""

    def patched(self, queue_name, count, wait_seconds_timeout, *rest):
        return receive(self, queue_name, count, wait_seconds_timeout, *rest) if wait_seconds_timeout else []

    return patched


@pytest.mark.parametrize(
    "sent", [None, [], {}, {"configRuleName": 1}, {"source": "aws.events", "resources": []}, "text"]
)
def test_what_is_no_event(sent):
    """What no policy gets is for no function."""
    with pytest.raises(ValueError, match="no policy of the pack"):
        function_of(sent)


def test_messages_that_were_not_delivered(cloud, tmp_path):
    """The line that sends what the mailer failed on once more is one that the CLI takes; moto has no such task."""
    (line,) = commands(blocks(OPERATE, "`custodian-mailer-failed`")[0])
    assert line.endswith(f":{ACCOUNT}:custodian-mailer-failed")
    assert "TaskHandle" in typed(cloud, tmp_path, f"{line} --generate-cli-skeleton output")


def test_the_permission_of_config(cloud, pack):
    """The page's two lines restore AWS Config's permission to invoke the policy."""
    client = cloud.session().client("lambda")
    client.remove_permission(FunctionName=CONFIG_RULE, StatementId=CONFIG_RULE)
    follow(cloud, pack, blocks(OPERATE, "What else the watch reports")[0])
    (statement,) = json.loads(client.get_policy(FunctionName=CONFIG_RULE)["Policy"])["Statement"]
    assert statement["Principal"] == {"Service": "config.amazonaws.com"}
    assert CONFIG_RULE in rules(cloud)
