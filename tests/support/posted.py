"""The mailer at work: the queue it takes messages from, the deployed function, and the inboxes of people."""

import base64
import email
import json
import zlib
from contextlib import contextmanager
from pathlib import Path

import yaml
from c7n.utils import yaml_load
from moto.ses.models import ses_backends

from c7n_ingress_tools.functions.runtime import deployed
from c7n_ingress_tools.mailer import deploy, preview
from tests.support.kept import kept

MAILER = Path(__file__).parents[2] / "mode" / "c7n_ingress_tools" / "mailer"
SAMPLE = preview.sample()
ACCOUNT = "123456789012"
TOPIC = f"arn:aws:sns:us-east-1:{ACCOUNT}:open-ingress"
ON_CALL = "on-call@example.com"
TRIES = 3
RECIPIENTS = [
    "*@example.com",
    "slack://#*",
    "slack://*@example.com",
    "slack://webhook/#*",
    "https://hooks.slack.com/services/*/*/*",
    "pagerduty://*",
    "pagerduty://eu/*",
    "jira://*",
    "jira://*/all",
    "servicenow://*",
    "arn:*:sns:*:*:*",
]


class Post:
    """What mode/stack.yml makes, as far as the mailer goes, and what people do and see there."""

    def __init__(self, cloud, folder):
        self.cloud = cloud
        self.folder = folder
        self.sqs = cloud.session().client("sqs")
        self.dead_letters = self.sqs.create_queue(QueueName="custodian-mailer-failed")["QueueUrl"]
        redrive = {"deadLetterTargetArn": f"arn:aws:sqs:us-east-1:{ACCOUNT}:custodian-mailer-failed"}
        redrive["maxReceiveCount"] = TRIES
        attributes = {"RedrivePolicy": json.dumps(redrive), "VisibilityTimeout": "0"}
        self.queue = self.sqs.create_queue(QueueName="custodian-mailer", Attributes=attributes)["QueueUrl"]
        cloud.session().client("iam").create_role(RoleName="custodian-mailer", AssumeRolePolicyDocument="{}")
        cloud.session().client("ses").verify_email_identity(EmailAddress="custodian@example.com")

    def config(self, **changes):
        """Write a copy of the shipped configuration with changes."""
        path = self.folder / "mailer.yml"
        shipped = yaml_load((MAILER.parents[1] / "mailer.yml").read_text(encoding="utf-8"))
        path.write_text(yaml.safe_dump(shipped | {"recipients": RECIPIENTS} | changes), encoding="utf-8")
        return path

    @contextmanager
    def mailer(self, internet=None, **changes):
        """Return the deployed mailer; the event source is off, `work` does its part.

        Tests with the same configuration share its process: only the first of them deploys it.
        """
        config = self.config(**({"https_proxy": internet.proxy} if internet else {}), **changes)
        with kept((self.cloud.endpoint, config.read_text()), lambda: self._deployed(config, internet)) as function:
            yield function

    @contextmanager
    def _deployed(self, config, internet):
        """Deploy the mailer."""
        deploy.deploy(deploy.read_config(config), self.cloud.session())
        client = self.cloud.session().client("lambda")
        if internet:
            trusting = {"Variables": {"REQUESTS_CA_BUNDLE": str(internet.authority)}}
            client.update_function_configuration(FunctionName="custodian-mailer", Environment=trusting)
        (mapping,) = client.list_event_source_mappings(FunctionName="custodian-mailer")["EventSourceMappings"]
        client.update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)
        with deployed(self.cloud, "custodian-mailer") as function:
            yield function

    def send(self, message):
        """Send a message as c7n does, and return its id; text is sent as it is."""
        body = message if isinstance(message, str) else pack(message)
        attributes = {"mtype": {"DataType": "String", "StringValue": "maidmsg/1.0"}}
        sent = self.sqs.send_message(QueueUrl=self.queue, MessageBody=body, MessageAttributes=attributes)
        return sent["MessageId"]

    def work(self, function):
        """Do what an event source mapping does: take a batch, call the function, delete what it did not report.

        Returns the ids of the messages that stay.
        """
        batch = self.sqs.receive_message(QueueUrl=self.queue, MaxNumberOfMessages=10).get("Messages", [])
        if not batch:
            return set()
        answer = function.invoke(
            {"Records": [event_record(message["MessageId"], message["Body"]) for message in batch]}
        )
        kept = {failure["itemIdentifier"] for failure in answer["batchItemFailures"]}
        for message in batch:
            if message["MessageId"] not in kept:
                self.sqs.delete_message(QueueUrl=self.queue, ReceiptHandle=message["ReceiptHandle"])
        return kept

    def subscribe(self, arn=TOPIC):
        """Make a topic and an inbox that it is delivered to, and return the inbox."""
        _, _, _, region, account, name = arn.split(":")
        session = self.cloud.session(region=region, account=account)
        sqs, sns = session.client("sqs"), session.client("sns")
        inbox = sqs.create_queue(QueueName="inbox")["QueueUrl"]
        inbox_arn = sqs.get_queue_attributes(QueueUrl=inbox, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        assert sns.create_topic(Name=name)["TopicArn"] == arn
        sns.subscribe(TopicArn=arn, Protocol="sqs", Endpoint=inbox_arn)
        return Inbox(sqs, inbox)

    def mails(self):
        """Return the e-mails that SES received."""
        return [email.message_from_string(sent.raw_data) for sent in ses_backends[ACCOUNT]["us-east-1"].sent_messages]


class Inbox:
    """A queue that is subscribed to a topic."""

    def __init__(self, sqs, url):
        self.sqs = sqs
        self.url = url

    def read(self, seconds=0):
        """Take what was delivered, waiting at most so long for it: subjects and texts."""
        batch = self.sqs.receive_message(QueueUrl=self.url, MaxNumberOfMessages=10, WaitTimeSeconds=seconds)
        notices = [json.loads(message["Body"]) for message in batch.get("Messages", [])]
        return [(notice["Subject"], notice["Message"]) for notice in notices]


def pack(message):
    """Pack a message as c7n does for SQS."""
    return base64.b64encode(zlib.compress(json.dumps(message).encode())).decode()


def message_to(*targets, **action):
    """Return the sample message, for other people or by another template."""
    return SAMPLE | {"action": SAMPLE["action"] | {"to": list(targets)} | action}


def event_record(message_id, body, sender="AROA0123456789EXAMPLE:custodian-open-ingress"):
    """Return a message as Lambda's event has it, as far as the mailer looks."""
    attributes = {"SentTimestamp": "1790000000000", "SenderId": sender}
    return {"messageId": message_id, "body": body, "attributes": attributes}
