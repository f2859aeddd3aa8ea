"""The mailer's Lambda entry: c7n-mailer renders and delivers what the queue sends here, and no failure is swallowed.

The queue is an event source of the function. A message that could not be delivered everywhere is reported as a batch
item failure: SQS hands it out again and, after its retries, moves it to the dead-letter queue. Stock c7n-mailer logs a
warning and deletes the message (cloud-custodian #4582). A message for several targets that failed for one of them is
tried again for that one, as long as the same process gets it; another process delivers to all again. Nothing is lost,
some of it may come twice.

The classes stand on c7n-mailer's own. They replace the methods that swallow errors, nothing else.

Sources: https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html (batch item failures).
"""

from __future__ import annotations

import base64
import json
import logging
import re
import smtplib
import socket
import zlib
from collections import OrderedDict
from contextlib import suppress
from email.mime.multipart import MIMEMultipart
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import c7n_mailer.utils
from c7n_mailer.email_delivery import EmailDelivery
from c7n_mailer.handle import config_setup
from c7n_mailer.smtp_delivery import SmtpDelivery
from c7n_mailer.sns_delivery import SnsDelivery
from c7n_mailer.sqs_queue_processor import MailerSqsQueueProcessor
from c7n_mailer.utils_email import is_email
from jinja2 import TemplateError

from c7n_ingress_tools.mailer.chat import PAGERDUTY, PagerDuty, Slack, is_slack, shown
from c7n_ingress_tools.mailer.commands import set_journals, with_filters
from c7n_ingress_tools.mailer.errors import UndeliverableError
from c7n_ingress_tools.mailer.recipients import Recipients

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from email.message import Message

    from jinja2 import Environment

    # To whom, as a log may show it; to whom and of what, in full; what to call for it.
    Delivery = tuple[str, tuple[str, ...], Callable[[], Any]]

log = logging.getLogger("custodian.mailer")
log.setLevel(logging.INFO)

CONFIG = Path(__file__).with_name("mailer.json")  # mailer.yml as deploy.py read it
TEMPLATES = Path(__file__).with_name("templates")
TOPIC = re.compile(r"arn:aws[a-z-]*:sns:(?P<region>[a-z0-9-]+):(?P<account>\d{12}):[\w-]+(\.fifo)?")
# What c7n-mailer itself looks up from a message's resources and event.
OWNERS = ("resource-owner", "event-owner", "account-emails")
SUBJECT_LIMIT = 99  # SNS: "less than 100 characters"
MESSAGE_LIMIT = 262_144  # SNS: bytes
MOST_UNPACKED = 4_194_304  # bytes; c7n sends at most 262,144 packed, and the pack's own messages are 180,000
RESERVE = 20_000  # milliseconds: with less left, nothing more is begun
SMTP_TIMEOUT = 20  # seconds; without one a silent mail server holds the function until it ends


def handle(event: dict, context: Any) -> dict:
    """Deliver the messages of a batch, and give the ids of those that SQS must keep.

    :raises UndeliverableError: this is no event of SQS.
    """
    records = event.get("Records") if isinstance(event, dict) else None
    if not isinstance(records, list) or not all(isinstance(each, dict) and "messageId" in each for each in records):
        raise UndeliverableError(f"{event!r:.80} is no event of SQS: send a message to the queue, and it makes one")
    failed = [record["messageId"] for record in records if not delivered(record, context)]
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}


def delivered(record: dict, context: Any) -> bool:
    """Deliver one message, and say whether that worked. What went wrong stands in the log."""
    try:
        message = {"MessageId": record["messageId"], "Body": record["body"], "Attributes": record["attributes"]}
        mailer().give(context.get_remaining_time_in_millis)
        mailer().process_sqs_message(message)
    except Exception:  # whatever is wrong with this message must not keep the others from being delivered
        log.exception("message %s was not delivered", record["messageId"])
        return False
    return True


def kept(environment: Callable[[list[str]], Environment]) -> Callable[[list[str]], Environment]:
    """Give a function that makes Jinja's environment once for the same folders.

    c7n-mailer makes one a message and parses each template anew, which is nearly all that a message costs. A template
    whose file changes is loaded again.
    """
    made = cache(lambda folders: environment(list(folders)))
    return lambda folders: made(tuple(map(str, folders)))


get_jinja_env = c7n_mailer.utils.get_jinja_env = kept(with_filters(c7n_mailer.utils.get_jinja_env))


@cache
def mailer() -> Mailer:
    """Give the mailer of this process, with the configuration that was deployed."""
    socket.setdefaulttimeout(SMTP_TIMEOUT)
    config = config_setup(json.loads(CONFIG.read_text(encoding="utf-8")))
    return Mailer(config | {"templates_folders": [str(TEMPLATES)]}, boto3.Session(), log)


class Mailer(MailerSqsQueueProcessor):
    """c7n-mailer's processor, which unpacks a message, with deliveries that raise."""

    def __init__(self, config: dict, session: boto3.Session, logger: logging.Logger) -> None:
        super().__init__(config, session, logger)
        self.reached = Reached()
        set_journals(get_jinja_env(config["templates_folders"]), config.get("journals", ()))

    def give(self, milliseconds_left: Callable[[], int]) -> None:
        """Take what tells how much time is left, before a message."""
        self.milliseconds_left = milliseconds_left
        self.reserve = min(RESERVE, milliseconds_left() // 2)

    def process_sqs_message(self, encoded_sqs_message: dict) -> None:
        """Unpack and deliver a message.

        :raises UndeliverableError: somebody was not reached.
        """
        self.message_id = encoded_sqs_message["MessageId"]
        message = unpacked(encoded_sqs_message["Body"])
        check_sender(self.config, message, encoded_sqs_message["Attributes"].get("SenderId", ""))
        self.handle_targets(message)

    def handle_targets(self, message: dict, *_: object, **__: object) -> None:
        """Deliver a message to each of its targets, whatever happens with the others.

        Everything is rendered before anything is sent: a message that cannot be rendered reaches nobody twice. A
        template that is not there, or is none, fails its own targets alone.

        :raises UndeliverableError: somebody was not reached, or there is nobody to tell of a group.
        """
        recipients = Recipients(self.config)
        message = with_recipients(with_sender(with_subject(message), self.config.get("from_address")), recipients)
        message, failures = self.with_templates(message)
        topics = Topics(self.config, self.session, self.logger, recipients)
        mail = Mail(self.config, self.session, self.logger, recipients)
        slack = Slack(self.config, self.session, self.logger, mail)
        pagerduty = PagerDuty(self.config, self.logger)
        deliveries = [
            *topics.deliveries(message),
            *mail.deliveries(message),
            *slack.deliveries(with_action(message, "slack_template", slack_template_of(message))),
            *pagerduty.deliveries(with_action(message, "template", pagerduty_template_of(message))),
        ]
        failures += [f"{shown(target)} is no target that is known here" for target in unknown_targets(message)]
        told = [*topics.get_sns_addrs_to_resources_map(message).values(), *slack.told]
        told += mail.get_emails_to_resources_map(message).values()
        told += [message["resources"] for target in message["action"].get("to", []) if PAGERDUTY.fullmatch(target)]
        failures += [
            f"{shown(each)} is not allowed: add it to recipients in mailer.yml, or take it out of the policy or tag"
            for each in recipients.refused
        ]
        failures += slack.failures + [f"there is nobody to tell of {group}" for group in left_out(message, told)]
        failures += [failure for delivery in deliveries if (failure := self.attempt(*delivery))]
        if failures:
            raise UndeliverableError("; ".join(failures))

    def with_templates(self, message: dict) -> tuple[dict, list[str]]:
        """Give the message without the targets whose template cannot be loaded, and what is wrong with it.

        c7n-mailer passes over a template that is not there.
        """
        targets, failures = list(message["action"].get("to", [])), []
        for template, its in templates_of(message).items():
            if wrong := self.wrong_with(template):
                failures.append(f"the template {template}.j2, for {', '.join(map(shown, its))}, {wrong}")
                targets = [target for target in targets if target not in its]
        return with_action(message, "to", targets), failures

    def wrong_with(self, template: str) -> str | None:
        """Say why a template cannot be loaded, if so."""
        try:
            get_jinja_env(self.config["templates_folders"]).get_template(f"{template}.j2")
        except TemplateError as error:
            return f"cannot be loaded: {type(error).__name__}: {error}"
        return None

    def attempt(self, target: str, whom: tuple[str, ...], deliver: Callable[[], Any]) -> str | None:
        """Deliver to one target; give what went wrong, so that the next target gets its try.

        :param target: how logs name it: two webhooks may look alike.
        :param whom: what tells it from every other delivery of the message.
        """
        if self.reached.has((self.message_id, *whom)):
            log.info("%s was reached before", target)
            return None
        if self.milliseconds_left() < self.reserve:  # killed, the process would forget whom it has reached
            return f"{target}: no time is left in this try"
        try:
            deliver()
        except Exception as error:
            log.exception("nothing was delivered to %s", target)
            return f"{target}: {error}"
        log.info("delivered to %s", target)
        self.reached.add((self.message_id, *whom))
        return None


class Reached:
    """Whom this process has reached with which message: the last ten thousand. SQS may hand out a message twice."""

    MOST = 10_000

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, ...], None] = OrderedDict()

    def add(self, reached: tuple[str, ...]) -> None:
        """Remember a message's id and whom it reached, in full."""
        self._known[reached] = None
        if len(self._known) > self.MOST:
            self._known.popitem(last=False)

    def has(self, reached: tuple[str, ...]) -> bool:
        """Say whether a target was reached with a message."""
        return reached in self._known


def unpacked(body: str) -> dict:
    """Return the message of a body, as c7n packs it: through SNS or not, in base64, compressed JSON.

    :raises UndeliverableError: it would need more memory than the function can spare.
    """
    with suppress(ValueError):  # it did not come through SNS
        body = json.dumps(json.loads(body)["Message"])
    inflater = zlib.decompressobj()
    text = inflater.decompress(base64.b64decode(body), MOST_UNPACKED)
    if inflater.unconsumed_tail:
        raise UndeliverableError(f"the message is longer than {MOST_UNPACKED} bytes once it is unpacked")
    return json.loads(text)


def check_sender(config: dict, message: dict, sender: str) -> None:
    """Check that a message is about the account whose role sent it, if `senders` says which roles there are.

    SQS itself sets the sender's id, which for a role is `AROA…:session`, and no account. A role's id is unique.
    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html (SenderId)
    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html#identifiers-unique-ids

    :raises UndeliverableError: it is about another account, or the role is not listed.
    """
    if "senders" not in config:
        return
    role = sender.partition(":")[0]
    account = config["senders"].get(role)
    if account is None or account != message.get("account_id"):
        raise UndeliverableError(
            f"{role or 'somebody'} sent a message about account {message.get('account_id')!r:.40}: "
            f"{f'it may send about {account}' if account else 'add it to senders in mailer.yml'}"
        )


def with_sender(message: dict, sender: str | None) -> dict:
    """Return a message that names no sender of e-mail but the configured one.

    :raises UndeliverableError: it names another.
    """
    named = message["action"].get("from", sender)
    if named != sender:
        raise UndeliverableError(f"the message is to come from {named!r:.80}, which is not from_address in mailer.yml")
    return message


def with_recipients(message: dict, recipients: Recipients) -> dict:
    """Return a message for the targets alone that may get messages."""
    action, unknown = message["action"], unknown_targets(message)  # nothing is delivered to these
    lists = {key: action[key] for key in ("to", "cc", "owner_absent_contact") if key in action}
    allowed = {
        key: [target for target in targets if target in unknown or recipients.allow_target(target)]
        for key, targets in lists.items()
    }
    return message | {"action": action | allowed}


def refuse_template_syntax(subject: str) -> None:
    """Refuse a subject that is a Jinja template.

    c7n-mailer renders subjects with no sandbox, so that whoever may send to the queue could run code under the mailer's
    role. c7n expands a policy's own variables, `{account_id}`, before it sends.

    :raises UndeliverableError: there is template syntax in it.
    """
    if re.search(r"{[{%#]", subject):
        raise UndeliverableError(f"a subject must not hold template syntax: {subject!r}")


def with_subject(message: dict) -> dict:
    """Give a message with `{account_id}` and `{region}` filled in, which c7n leaves in the subject of its own `notify`.

    :raises UndeliverableError: the subject is a template.
    """
    subject = message["action"].get("subject", "")
    for name in ("account_id", "region"):
        subject = subject.replace(f"{{{name}}}", str(message.get(name, "")))
    refuse_template_syntax(subject)
    return message | {"action": message["action"] | {"subject": subject}} if subject else message


def template_of(message: dict) -> str:
    """Give the name of the template that a message asks for."""
    return message["action"].get("template", "default")


def slack_template_of(message: dict) -> str:
    """Give the name of the template for Slack: c7n-mailer's own key for it, or the template's twin."""
    return message["action"].get("slack_template", f"{template_of(message)}.slack")


def pagerduty_template_of(message: dict) -> str:
    """Give the name of the template for PagerDuty: the template's twin."""
    return f"{template_of(message)}.pagerduty"


def templates_of(message: dict) -> dict[str, list[str]]:
    """Give the templates that a message needs, each with the targets that get it."""
    templates: dict[str, list[str]] = {}
    for target in message["action"].get("to", []):
        if is_slack(target):
            template = slack_template_of(message)
        else:
            template = pagerduty_template_of(message) if PAGERDUTY.fullmatch(target) else template_of(message)
        templates.setdefault(template, []).append(target)
    return templates


def with_action(message: dict, key: str, value: object) -> dict:
    """Give a message whose action says something else under a key."""
    return message | {"action": message["action"] | {key: value}}


def is_address_of_another(target: str) -> bool:
    """Say whether a target cannot be meant as an e-mail address, whatever else it is."""
    return "://" in target or target.startswith("arn:")


def unknown_targets(message: dict) -> list[str]:
    """Give the targets that nothing here delivers to; c7n-mailer skips them without a word."""
    return [
        target
        for target in message["action"].get("to", [])
        if not (
            TOPIC.fullmatch(target)
            or is_slack(target)
            or PAGERDUTY.fullmatch(target)
            or (not is_address_of_another(target) and is_email(target))
            or target in OWNERS
        )
    ]


def name_of(resource: dict) -> str:
    """Name a group, or whatever else a policy tells of: the watch tells of an account."""
    return resource.get("GroupId") or resource.get("account_id") or "a resource without an id"


def left_out(message: dict, told: list[list[dict]]) -> list[str]:
    """Give what is in no message: a group whose owner is unknown, say. c7n-mailer drops it without a word."""
    if not told:
        return [name_of(resource) for resource in message["resources"]] or ["this message"]
    seen = {id(resource) for resources_told in told for resource in resources_told}
    return [name_of(resource) for resource in message["resources"] if id(resource) not in seen]


def fitting(text: str, most: int = MESSAGE_LIMIT) -> str:
    """Cut a text that SNS would refuse for its size, after a whole line, and say so in its last one.

    https://docs.aws.amazon.com/sns/latest/api/API_Publish.html (Message: 262,144 bytes of UTF-8)
    """
    if len(text.encode()) <= most:
        return text
    note = "\n\nThe message was too long for SNS, and is cut here. The policy's log has each change."
    cut = text.encode()[: most - len(note)].decode(errors="ignore")
    return cut.rpartition("\n")[0] + note


class Topics(SnsDelivery):
    """SNS topics, in every partition, region and account."""

    def __init__(self, config: dict, session: boto3.Session, logger: logging.Logger, recipients: Recipients) -> None:
        super().__init__(config, session, logger)
        self.session = session
        self.recipients = recipients

    def get_sns_addrs_to_resources_map(self, sqs_message: dict) -> dict[str, list[dict]]:
        """Return the resources for each topic that may get messages: a tag may name any."""
        found = super().get_sns_addrs_to_resources_map(sqs_message)
        return {topic: resources for topic, resources in found.items() if self.recipients.allow(topic)}

    def deliveries(self, message: dict) -> Iterator[Delivery]:
        """Give each topic, and what publishes the rendered message to it."""
        for package in self.get_sns_message_packages(message):
            topic, subject, body = package["topic"], package["subject"], package["sns_message"]
            yield topic, (topic,), partial(self.deliver_sns_message, topic, subject, body, message)

    def target_is_sns(self, target: str) -> bool:
        """Say whether a target is a topic; c7n-mailer's own knows the partition `aws` alone."""
        return TOPIC.fullmatch(target) is not None

    def deliver_sns_message(self, topic: str, subject: str, rendered_jinja_body: str, _message: dict) -> None:
        """Publish to a topic.

        :raises botocore.exceptions.ClientError: SNS refused.
        """
        text = fitting(rendered_jinja_body)
        self.client(topic).publish(TopicArn=topic, Subject=subject[:SUBJECT_LIMIT], Message=text)

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

    def __init__(self, config: dict, session: boto3.Session, logger: logging.Logger, recipients: Recipients) -> None:
        super().__init__(config, session, logger)
        self.recipients = recipients

    def get_emails_to_resources_map(self, sqs_message: dict) -> dict[tuple[str, ...], list[dict]]:
        """Return the resources for each set of addresses that may get messages: a tag or an event may name any."""
        found: dict[tuple[str, ...], list[dict]] = {}
        for addresses, resources in super().get_emails_to_resources_map(sqs_message).items():
            if allowed := tuple(self.recipients.allowed_among(addresses)):
                found.setdefault(allowed, []).extend(resources)
        return found

    def deliveries(self, message: dict) -> Iterator[Delivery]:
        """Give each set of addresses, and what sends the rendered mail to it."""
        for addresses, mimetext in self.get_emails_to_mimetext_map(message).items():
            yield ", ".join(addresses), addresses, partial(self.send, addresses, mimetext)

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

    def get_valid_emails_from_list(self, targets: list[str]) -> list[str]:
        """Give the addresses among targets; c7n-mailer makes one of `https://me@example.com`, say."""
        return super().get_valid_emails_from_list([target for target in targets if not is_address_of_another(target)])

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
