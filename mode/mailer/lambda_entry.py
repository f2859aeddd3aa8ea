"""The mailer's Lambda entry: c7n-mailer renders and delivers what the queue sends here, and no failure is swallowed.

The queue is an event source of the function. A message that could not be delivered everywhere is reported as a batch
item failure: SQS hands it out again and, after its retries, moves it to the dead-letter queue. Stock c7n-mailer logs a
warning and deletes the message (cloud-custodian #4582). A message for several targets that failed for one of them is
delivered to the others again with the next try: nothing is lost, some of it may come twice.

The classes stand on c7n-mailer's own. They replace the methods that swallow errors, nothing else.

Sources: https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html (batch item failures).
"""

from __future__ import annotations

import json
import logging
import re
import smtplib
import socket
from email.mime.multipart import MIMEMultipart
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
from c7n_mailer.email_delivery import EmailDelivery
from c7n_mailer.handle import config_setup
from c7n_mailer.smtp_delivery import SmtpDelivery
from c7n_mailer.sns_delivery import SnsDelivery
from c7n_mailer.sqs_queue_processor import MailerSqsQueueProcessor
from c7n_mailer.utils import get_jinja_env
from c7n_mailer.utils_email import is_email

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from email.message import Message

    Delivery = tuple[str, Callable[[], Any]]  # to whom, and what to call for it

log = logging.getLogger("custodian.mailer")
log.setLevel(logging.INFO)

CONFIG = Path(__file__).with_name("mailer.json")  # mailer.yml as deploy.py read it
TEMPLATES = Path(__file__).with_name("templates")
TOPIC = re.compile(r"arn:aws[a-z-]*:sns:(?P<region>[a-z0-9-]+):(?P<account>\d{12}):[\w-]+(\.fifo)?")
# What c7n-mailer itself looks up from a message's resources and event.
OWNERS = ("resource-owner", "event-owner", "account-emails")
SUBJECT_LIMIT = 99  # SNS: "less than 100 characters"
SMTP_TIMEOUT = 20  # seconds; without one a silent mail server holds the function until it ends


class UndeliverableError(Exception):
    """A message that cannot be delivered, or not to everybody. The text says why."""


def handle(event: dict, _context: object) -> dict:
    """Deliver the messages of a batch, and give the ids of those that SQS must keep.

    :raises UndeliverableError: this is no event of SQS.
    """
    records = event.get("Records") if isinstance(event, dict) else None
    if not isinstance(records, list) or not all(isinstance(each, dict) and "messageId" in each for each in records):
        raise UndeliverableError(f"{event!r:.80} is no event of SQS: send a message to the queue, and it makes one")
    failed = [record["messageId"] for record in records if not delivered(record)]
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}


def delivered(record: dict) -> bool:
    """Deliver one message, and say whether that worked. What went wrong stands in the log."""
    try:
        message = {"MessageId": record["messageId"], "Body": record["body"], "Attributes": record["attributes"]}
        mailer().process_sqs_message(message)
    except Exception:  # whatever is wrong with this message must not keep the others from being delivered
        log.exception("message %s was not delivered", record["messageId"])
        return False
    return True


@cache
def mailer() -> Mailer:
    """Give the mailer of this process, with the configuration that was deployed."""
    socket.setdefaulttimeout(SMTP_TIMEOUT)
    config = config_setup(json.loads(CONFIG.read_text(encoding="utf-8")))
    return Mailer(config | {"templates_folders": [str(TEMPLATES)]}, boto3.Session(), log)


class Mailer(MailerSqsQueueProcessor):
    """c7n-mailer's processor, which unpacks a message, with deliveries that raise."""

    def handle_targets(self, message: dict, *_: object, **__: object) -> None:
        """Deliver a message to each of its targets, whatever happens with the others.

        Everything is rendered before anything is sent: a message that cannot be rendered reaches nobody twice.

        :raises UndeliverableError: somebody was not reached, or there is nobody to tell of a group.
        :raises jinja2.TemplateError: a template is missing or broken.
        """
        refuse_template_syntax(message["action"].get("subject", ""))
        get_jinja_env(self.config["templates_folders"]).get_template(f"{template_of(message)}.j2")
        topics = Topics(self.config, self.session, self.logger)
        mail = Mail(self.config, self.session, self.logger)
        deliveries = [*topics.deliveries(message), *mail.deliveries(message)]
        failures = [f"{target} is neither a topic nor an e-mail address" for target in unknown_targets(message)]
        told = [*topics.get_sns_addrs_to_resources_map(message).values()]
        told += mail.get_emails_to_resources_map(message).values()
        failures += [f"there is nobody to tell of {group}" for group in left_out(message["resources"], told)]
        failures += [failure for target, deliver in deliveries if (failure := attempt(target, deliver))]
        if failures:
            raise UndeliverableError("; ".join(failures))


def attempt(target: str, deliver: Callable[[], Any]) -> str | None:
    """Deliver to one target; give what went wrong, so that the next target gets its try."""
    try:
        deliver()
    except Exception as error:
        log.exception("nothing was delivered to %s", target)
        return f"{target}: {error}"
    log.info("delivered to %s", target)
    return None


def refuse_template_syntax(subject: str) -> None:
    """Refuse a subject that is a Jinja template.

    c7n-mailer renders subjects with no sandbox, so that whoever may send to the queue could run code under the mailer's
    role. c7n expands a policy's own variables, `{account_id}`, before it sends.

    :raises UndeliverableError: there is template syntax in it.
    """
    if re.search(r"{[{%#]", subject):
        raise UndeliverableError(f"a subject must not hold template syntax: {subject!r}")


def template_of(message: dict) -> str:
    """Give the name of the template that a message asks for."""
    return message["action"].get("template", "default")


def unknown_targets(message: dict) -> list[str]:
    """Give the targets that nothing here delivers to; c7n-mailer skips them without a word."""
    return [
        target
        for target in message["action"].get("to", [])
        if not (TOPIC.fullmatch(target) or is_email(target) or target in OWNERS)
    ]


def left_out(resources: list[dict], told: list[list[dict]]) -> list[str]:
    """Give the groups that are in no message: their owner is unknown, say. c7n-mailer drops them without a word."""
    seen = {id(resource) for resources_told in told for resource in resources_told}
    return [resource["GroupId"] for resource in resources if id(resource) not in seen]


class Topics(SnsDelivery):
    """SNS topics, in every partition, region and account."""

    def __init__(self, config: dict, session: boto3.Session, logger: logging.Logger) -> None:
        super().__init__(config, session, logger)
        self.session = session

    def deliveries(self, message: dict) -> Iterator[Delivery]:
        """Give each topic, and what publishes the rendered message to it."""
        for package in self.get_sns_message_packages(message):
            topic, subject, body = package["topic"], package["subject"], package["sns_message"]
            yield topic, partial(self.deliver_sns_message, topic, subject, body, message)

    def target_is_sns(self, target: str) -> bool:
        """Say whether a target is a topic; c7n-mailer's own knows the partition `aws` alone."""
        return TOPIC.fullmatch(target) is not None

    def deliver_sns_message(self, topic: str, subject: str, rendered_jinja_body: str, _message: dict) -> None:
        """Publish to a topic.

        :raises botocore.exceptions.ClientError: SNS refused.
        """
        self.client(topic).publish(TopicArn=topic, Subject=subject[:SUBJECT_LIMIT], Message=rendered_jinja_body)

    def client(self, topic: str) -> Any:
        """Give a client in the topic's own region, under the role that `cross_accounts` names for its account."""
        region, account = TOPIC.fullmatch(topic).group("region", "account")
        role = self.config.get("cross_accounts", {}).get(account)
        if role is None:
            return self.session.client("sns", region_name=region)
        given = self.aws_sts.assume_role(RoleArn=role, RoleSessionName="CustodianNotification")["Credentials"]
        return boto3.client(
            "sns",
            region_name=region,
            aws_access_key_id=given["AccessKeyId"],
            aws_secret_access_key=given["SecretAccessKey"],
            aws_session_token=given["SessionToken"],
        )


class Mail(EmailDelivery):
    """E-mail through SES or SMTP: plain text, with HTML beside it if the template has a twin `<name>.html`."""

    def deliveries(self, message: dict) -> Iterator[Delivery]:
        """Give each set of addresses, and what sends the rendered mail to it."""
        for addresses, mimetext in self.get_emails_to_mimetext_map(message).items():
            yield ", ".join(addresses), partial(self.send, addresses, mimetext)

    def get_emails_to_mimetext_map(self, sqs_message: dict) -> dict[tuple[str, ...], Message]:
        """Give the mail for each set of addresses."""
        plain = super().get_emails_to_mimetext_map(sqs_message)
        template = f"{template_of(sqs_message)}.html"
        if not any(Path(folder, f"{template}.j2").is_file() for folder in self.config["templates_folders"]):
            return plain
        html = super().get_emails_to_mimetext_map(
            sqs_message | {"action": sqs_message["action"] | {"template": template}}
        )
        return {addresses: with_alternatives(plain[addresses], html[addresses]) for addresses in plain}

    def send(self, addresses: tuple[str, ...], mail: Message) -> None:
        """Send a mail.

        :raises botocore.exceptions.ClientError: SES refused.
        :raises OSError, smtplib.SMTPException: the mail server could not be reached, or refused the mail or an address.
        """
        if "smtp_server" in self.config:
            Smtp(self.config, self.session, self.logger).send_message(mail, list(addresses))
        else:
            self.aws_ses.send_raw_email(RawMessage={"Data": mail.as_string()})


class Smtp(SmtpDelivery):
    """SMTP that tells when some of the addresses were refused."""

    def send_message(self, message: Message, to_addrs: list[str]) -> None:
        """Send a mail; smtplib itself raises only if every address was refused.

        :raises smtplib.SMTPRecipientsRefused: an address was refused.
        """
        refused = self._smtp_connection.sendmail(message["From"], to_addrs, message.as_string())
        if refused:
            raise smtplib.SMTPRecipientsRefused(refused)


def with_alternatives(plain: Message, html: Message) -> Message:
    """Put two mails with the same headers into one, of which the reader shows the better part it can."""
    mail = MIMEMultipart("alternative")
    for name, value in plain.items():
        if name not in ("MIME-Version", "Content-Type", "Content-Transfer-Encoding"):
            mail[name] = value
            del plain[name], html[name]
    mail.attach(plain)
    mail.attach(html)
    return mail
