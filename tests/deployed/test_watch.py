import json
import re
from contextlib import ExitStack, suppress
from datetime import datetime, timedelta, timezone

import pytest
from c7n import schema
from c7n.config import Config
from c7n.loader import SchemaValidator
from c7n.policy import PolicyCollection
from c7n.resources import load_resources
from c7n.utils import yaml_load
from moto.cloudwatch.responses import CloudWatchResponse
from moto.config.models import config_backends
from moto.core.exceptions import AccessDeniedError
from moto.ses.models import ses_backends
from moto.sns.models import sns_backends

from c7n_ingress_tools import policies
from c7n_ingress_tools.functions.runtime import deployed
from c7n_ingress_tools.mailer import deploy
from tests.support.docs import PAGES
from tests.support.embedded import POLICIES, ROOT, cases, custodian, settings
from tests.support.stacked import ACCOUNT, create, forget_metrics, inbox, poll, stop_polling

WATCH = ROOT / "mode" / "watch.yml"
NAMES = [policy["name"] for policy in yaml_load(WATCH.read_text())["policies"]]
RULE = "custodian-open-ingress"
TOPIC = f"arn:aws:sns:us-east-1:{ACCOUNT}:open-ingress"
ON_CALL = "on-call@example.com"
CASES = cases("watch")
WATCHED = cases("alarms")["watched"]
SCHEDULED = [
    *(
        policy["name"].removeprefix("open-ingress-")
        for path in POLICIES
        for policy in yaml_load(path.read_text())["policies"]
        if policy.get("mode", {}).get("type") in ("periodic", "cloudtrail")
    ),
    *(name.removeprefix("open-ingress-") for name in NAMES if not name.endswith("-trigger")),
]
"""The policies whose functions EventBridge invokes."""
A_DAY = {"detail-type": "Scheduled Event", "source": "aws.events", "detail": {}}


def test_each_schema_is_generated_once(monkeypatch):
    """To validate the watch, c7n generates the schema of each resource once, and not for each of forty filters."""
    generated = []
    generate = schema.generate
    monkeypatch.setattr(schema, "generate", lambda types: generated.append(tuple(sorted(types))) or generate(types))
    load_resources(("aws.account",))
    monkeypatch.setattr("c7n_ingress.watch.VALIDATOR", SchemaValidator())
    policies.load(WATCH, {"tell": [TOPIC]}, ACCOUNT, "us-east-1")
    assert ("aws.event-rule",) in generated
    assert len(generated) == len(set(generated))


class Account:
    """An account as docs/deploy.md leaves it: stack, policies, mailer and watch are there, somebody is subscribed.

    The watch has a second way to notify people, as docs/operate.md advises.
    """

    def __init__(self, cloud, folder, run):
        self.cloud = cloud
        create(cloud, RecordSecurityGroups="yes", MailFrom="custodian@example.com")
        self.client("ses").verify_email_identity(EmailAddress="custodian@example.com")
        self.take = inbox(cloud)
        named = settings(folder, ["198.18.7.0/24"], tell=[TOPIC, ON_CALL])
        policies = ["--vars-file", named, ROOT / "policies" / "open-ingress.yml", WATCH]
        self.command = ["run", "--region", "us-east-1", "-s", folder, *policies]
        self.deploy()
        deploy.deploy(deploy.read_config(deploy.CONFIG) | {"recipients": [ON_CALL]}, cloud.session())
        stop_polling(cloud)
        self.functions = {name: run(f"custodian-{name}") for name in NAMES}
        self.mailer = run("custodian-mailer")

    def deploy(self, *names):
        """Deploy all policies, or those with these names."""
        done = custodian(self.cloud, *self.command, *(word for name in names for word in ("-p", name)))
        assert done.returncode == 0, done.stderr

    def client(self, service):
        """Return an administrator's client."""
        return self.cloud.session().client(service)

    def reported(self):
        """Let a day pass: each watch runs, the mailer delivers. Return what the topic's subscriber reads."""
        for function in self.functions.values():
            function.invoke(A_DAY)
        while poll(self.cloud.session(), self.mailer):
            pass
        return self.take()


@pytest.fixture(scope="module")
def account(embedded_aws, tmp_path_factory):
    """Return such an account; every test leaves it as it was."""
    embedded_aws.reset()
    with ExitStack() as stack:
        yield Account(
            embedded_aws,
            tmp_path_factory.mktemp("policies"),
            lambda name: stack.enter_context(deployed(embedded_aws, name)),
        )


def record(account, *types):
    """Make AWS Config record these types of resources."""
    client, role = account.client("config"), f"arn:aws:iam::{ACCOUNT}:role/config"
    recorder = {"name": "default", "roleARN": role, "recordingGroup": {"resourceTypes": list(types)}}
    client.put_configuration_recorder(ConfigurationRecorder=recorder)
    client.start_configuration_recorder(ConfigurationRecorderName="default")


def record_groups(account):
    """Make AWS Config record security groups, as the stack does."""
    record(account, "AWS::EC2::SecurityGroup")


def record_instances(account):
    """Make AWS Config record instances instead."""
    record(account, "AWS::EC2::Instance")


def fail_to_record(_account):
    """Make AWS Config's recorder fail, as without the permission to assume its role: moto has no call for that."""
    (recorder,) = config_backends[ACCOUNT]["us-east-1"].recorders.values()
    recorder.status.last_status = "FAILURE"
    recorder.status.last_error_code = "AccessDenied"


def stop_recorder(account):
    """Stop the recorder."""
    account.client("config").stop_configuration_recorder(ConfigurationRecorderName="default")


def delete_recorder(account):
    """Delete the recorder."""
    account.client("config").delete_configuration_recorder(ConfigurationRecorderName="default")


def delete_rule(account):
    """Delete the Config rule."""
    account.client("config").delete_config_rule(ConfigRuleName=RULE)


def delete_function(account):
    """Delete the function, upon which its permission is gone as well."""
    account.client("lambda").delete_function(FunctionName=RULE)


def remove_permission(account):
    """Take AWS Config's permission to invoke the function away."""
    account.client("lambda").remove_permission(FunctionName=RULE, StatementId=RULE)


def deploy_anew(account):
    """Do what the message says: delete what is left of the rule, and deploy the policy again."""
    config = account.client("config")
    with suppress(config.exceptions.NoSuchConfigRuleException):
        config.delete_config_rule(ConfigRuleName=RULE)
    account.deploy("open-ingress")


SILENCES = {
    "the recorder has stopped": ("recorder", stop_recorder, record_groups),
    "the recorder is gone": ("recorder", delete_recorder, record_groups),
    "the recorder is for something else": ("recorder", record_instances, record_groups),
    "the recorder is on and fails": ("recorder", fail_to_record, record_groups),
    "the rule is gone": ("rule", delete_rule, deploy_anew),
    "the function is gone": ("rule", delete_function, deploy_anew),
    "the permission is gone": ("rule", remove_permission, deploy_anew),
}
"""What is silent: who reports it, what causes it, what fixes it."""
BY_DAY = ("the recorder has stopped", "the recorder is on and fails", "the rule is gone")


def test_all_is_well(account):
    """If everything works, nothing is reported."""
    assert account.reported() == []


@pytest.mark.parametrize(
    "case", [name if name in BY_DAY else pytest.param(name, marks=pytest.mark.soak) for name in SILENCES]
)
def test_what_config_does_not_see(account, case):
    """Each way in which AWS Config fails is reported once a day until it is fixed as the message says."""
    who, cause, fix = SILENCES[case]
    cause(account)
    try:
        reported = account.reported()
    finally:
        fix(account)
    (message,) = reported
    assert message["Subject"].startswith("Open ingress: AWS Config does not ")
    wanted = f"Account: {ACCOUNT}\nRegion: us-east-1\nPolicy: open-ingress-watch-{who}"
    assert wanted in message["Message"]
    assert message["Message"].startswith("WHAT TO DO NOW\n\n! ")
    assert account.reported() == []


def disable(account, rule):
    """Disable a rule of EventBridge."""
    account.client("events").disable_rule(Name=rule)


def remove_target(account, rule):
    """Take the function away from a rule of EventBridge."""
    account.client("events").remove_targets(Rule=rule, Ids=[rule])


def delete_trigger(account, rule):
    """Delete a rule of EventBridge."""
    remove_target(account, rule)
    account.client("events").delete_rule(Name=rule)


def forbid(account, rule):
    """Take EventBridge's permission to invoke a function away; moto keeps one for each time that it was deployed."""
    client = account.client("lambda")
    for statement in json.loads(client.get_policy(FunctionName=rule)["Policy"])["Statement"]:
        client.remove_permission(FunctionName=rule, StatementId=statement["Sid"])


@pytest.mark.parametrize(
    ("cause", "name"),
    [
        (disable, "cloudtrail"),
        (forbid, "cloudtrail"),
        pytest.param(delete_trigger, "daily", marks=pytest.mark.soak),
        pytest.param(remove_target, "watch-topic", marks=pytest.mark.soak),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_function_that_eventbridge_does_not_invoke(account, cause, name):
    """A function that its rule in EventBridge does not invoke is reported until its policy is deployed again."""
    cause(account, f"{RULE}-{name}")
    try:
        (message,) = account.reported()
    finally:
        account.deploy(f"open-ingress-{name}")
    assert message["Subject"] == "Open ingress: EventBridge does not invoke a policy"
    assert "Policy: open-ingress-watch-trigger\nTime: " in message["Message"], message["Message"]
    assert account.reported() == []


def test_which_functions_have_their_rules_looked_at():
    """The watch looks at the rule and the permission of each function that EventBridge invokes, but its own."""
    (watch,) = (policy for policy in yaml_load(WATCH.read_text())["policies"] if policy["name"].endswith("-trigger"))
    text = json.dumps(watch["filters"])
    looked_at = {*re.findall(r'"aws.event-rule", "filters": \[\{"Name": "([\w-]+)"', text)}
    allowed = yaml_load(WATCH.read_text())["vars"]["scheduled"]["value"]
    assert looked_at == set(allowed) == {f"{RULE}-{name}" for name in SCHEDULED}


@pytest.mark.parametrize(
    ("case", "name"),
    [
        pytest.param(case, name, id=f"{name}: {case['name']}", marks=[] if number == place else [pytest.mark.soak])
        for place, case in enumerate(WATCHED)
        for number, name in enumerate(["open-ingress", "open-ingress-daily", "open-ingress-watch-rule", "mailer"])
    ],
)
def test_a_function_that_fails(account, name, case):
    """What Lambda repaired by itself, or could not deliver, is reported once a day, of each of the pack's functions."""
    function = f"custodian-{name}"
    try:
        measure(account, function, case["metric"], case["quiet"])
        assert account.reported() == []
        measure(account, function, case["metric"], case["fires"])
        (message,) = account.reported()
    finally:
        forget_metrics()
    assert message["Subject"] == "Open ingress: a Lambda failed"
    assert "Policy: open-ingress-watch-errors\nTime: " in message["Message"], message["Message"]
    assert account.reported() == []


def measure(account, function, metric, values):
    """Put what Lambda measures of a function: how many minutes ago, and how much."""
    data = [
        {
            "MetricName": metric,
            "Dimensions": [{"Name": "FunctionName", "Value": function}],
            "Timestamp": datetime.now(timezone.utc) - timedelta(minutes=ago),
            "Value": value,
        }
        for ago, value in values.items()
    ]
    if data:
        account.client("cloudwatch").put_metric_data(Namespace="AWS/Lambda", MetricData=data)


def test_where_the_message_points():
    """The message about a Lambda names sections of docs/operate.md that exist."""
    (watch,) = (policy for policy in yaml_load(WATCH.read_text())["policies"] if policy["name"].endswith("-errors"))
    anchors = re.findall(r"#(\w+)", watch["actions"][0]["action_desc"])
    assert anchors == ["errors", "throttled", "dropped"]
    assert {f"## {anchor}" for anchor in anchors} <= set(PAGES["docs/operate.md"].splitlines())


def test_functions_of_others(account):
    """The errors of a function that is not the pack's are not reported."""
    measure(account, "orders", "Errors", {20: 1})
    try:
        assert account.reported() == []
    finally:
        forget_metrics()


def test_metrics_that_cannot_be_read(account, monkeypatch):
    """Where the watch may not read metrics, for which Custodian raises nothing, it reports that, too."""

    def refuse(_):
        raise AccessDeniedError("the watch", "cloudwatch:GetMetricStatistics")

    monkeypatch.setattr(CloudWatchResponse, "get_metric_statistics", refuse)
    (message,) = account.reported()
    assert message["Subject"] == "Open ingress: a Lambda failed"


@pytest.mark.soak
def test_deploying_is_not_enough(account):
    """While the rule exists, Custodian does not grant AWS Config's permission again; the message must not say so."""
    remove_permission(account)
    try:
        account.deploy("open-ingress")
        assert len(account.reported()) == 1
    finally:
        deploy_anew(account)


@pytest.mark.parametrize("state", ["unconfirmed", "gone"])
def test_a_topic_that_nobody_hears(account, state, monkeypatch):
    """A topic without a confirmed subscriber is reported by the second way."""
    topic = sns_backends[ACCOUNT]["us-east-1"].topics[TOPIC]
    ((arn, subscription),) = sns_backends[ACCOUNT]["us-east-1"].subscriptions.items()
    mails = ses_backends[ACCOUNT]["us-east-1"].sent_messages
    before = len(mails)
    if state == "unconfirmed":  # moto's are confirmed at once
        monkeypatch.setattr(subscription, "arn", "PendingConfirmation")
    else:
        monkeypatch.delitem(sns_backends[ACCOUNT]["us-east-1"].subscriptions, arn)
    account.reported()
    monkeypatch.undo()
    (mail,) = mails[before:]
    assert topic.sent_notifications
    assert mail.destinations == [ON_CALL]
    assert "Open ingress: nobody is subscribed to the topic" in mail.raw_data
    assert account.reported() == []


def described(case):
    """Return a recorder as `aws configservice describe-configuration-recorders` lists it, with its status."""
    return {
        "name": "default",
        "recordingGroup": case["group"],
        "recordingMode": case.get("mode"),
        "status": case["status"],
    }


@pytest.mark.parametrize("case", CASES["recorders"], ids=lambda case: case["name"])
def test_what_a_recorder_records(case):
    """The watch knows all settings of what AWS Config records, and how often."""
    load_resources(("aws.account", "aws.config-recorder"))
    (recorder, *_) = yaml_load(WATCH.read_text())["policies"]
    policy = {"name": "recorders", **recorder["filters"][0]["policy"]}
    (loaded,) = PolicyCollection.from_data({"policies": [policy]}, Config.empty(region="us-east-1", account_id=ACCOUNT))
    found = loaded.resource_manager.filter_resources([described(case)])
    assert bool(found) is case["records"]


def test_in_another_region(account, tmp_path):
    """Each region has a watch of its own, which looks there, though an account belongs to none."""
    cloud, region = account.cloud, "eu-central-1"
    create(cloud, region, RolesRegion="us-east-1")
    given = ["--vars-file", settings(tmp_path, ["198.18.7.0/24"])]
    done = custodian(cloud, "run", "--region", region, "-s", tmp_path, *given, "-p", NAMES[0], WATCH, region=region)
    assert done.returncode == 0, done.stderr
    cloud.calls.clear()
    with deployed(cloud, f"custodian-{NAMES[0]}", session=cloud.session(region)) as function:
        function.invoke(A_DAY)
    assert {call.region for call in cloud.calls if call.service in ("config", "sqs")} == {region}
    assert [call.action for call in cloud.calls if call.service == "sqs"] == ["SendMessage"]
