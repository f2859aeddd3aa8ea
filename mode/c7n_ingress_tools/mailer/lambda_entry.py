"""The mailer's Lambda entry: what the queue sends here is delivered by each channel, and no failure is swallowed.

The queue is an event source of the function. A message that could not be delivered everywhere is reported as a batch
item failure: SQS delivers it again and, after its retries, moves it to the dead-letter queue. Stock c7n-mailer logs a
warning and deletes the message (cloud-custodian #4582). A message for several recipients that failed for one of them is
tried again for that one, as long as the same process gets it; another process delivers to all again. Nothing is lost,
some of it may come twice.

Sources: https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html (batch item failures).
"""

from __future__ import annotations

import base64
import json
import logging
import re
import socket
import zlib
from collections import deque
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import boto3
from c7n_mailer.handle import config_setup

from c7n_ingress.decide.message import RESTORED
from c7n_ingress_tools.mailer.channel import Channel, Delivery, UndeliverableError, log, shown
from c7n_ingress_tools.mailer.commands import GROUP, REGION
from c7n_ingress_tools.mailer.jira import Jira
from c7n_ingress_tools.mailer.mail import Mail
from c7n_ingress_tools.mailer.pagerduty import PagerDuty
from c7n_ingress_tools.mailer.recipients import LONGEST, Recipients
from c7n_ingress_tools.mailer.servicenow import ServiceNow
from c7n_ingress_tools.mailer.slack import Slack
from c7n_ingress_tools.mailer.sns import Topics
from c7n_ingress_tools.mailer.typed import plain

CHANNELS: tuple[type[Channel], ...] = (Topics, Mail, Slack, PagerDuty, Jira, ServiceNow)
"""All channels, in the order in which they deliver."""

log.setLevel(logging.INFO)

CONFIG = Path("mailer.json")  # mailer.yml as deploy.py read it, beside the zip's packages
MOST_UNPACKED = 4_194_304  # bytes; c7n sends at most 262,144 packed, and the pack's own messages are 180,000
MOST_SUBJECT = 300  # characters
MOST_KNOWN = 10_000  # deliveries that a process remembers
RESERVE = 20_000  # milliseconds: with less left, nothing more is begun
SMTP_TIMEOUT = 20  # seconds; without one a silent mail server holds the function until it ends

UNDONE = re.compile(rf"undone in \d{{12}} {REGION.pattern}: {GROUP.pattern}(, {GROUP.pattern})*", re.ASCII)
"""The line that `c7n-ingress report --journal` counts. Anyone who may send can write a message, but no other line."""


def handle(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Deliver the messages of a batch, and return the ids of those that SQS must keep.

    :raises UndeliverableError: this is no event of SQS.
    """
    records = event.get("Records") if isinstance(event, dict) else None
    if not isinstance(records, list) or not all(isinstance(each, dict) and "messageId" in each for each in records):
        raise UndeliverableError(f"{event!r:.80} is not an event of SQS: send a message to the queue instead")
    failed = []
    for record in records:
        try:
            mailer().process(record, context.get_remaining_time_in_millis)
        except Exception:  # noqa: BLE001, PERF203 - what is wrong with one message does not stop the others
            log.exception("message %s was not delivered", record["messageId"])
            failed.append({"itemIdentifier": record["messageId"]})
    return {"batchItemFailures": failed}


@cache
def mailer() -> Mailer:
    """Return the mailer of this process, with the configuration that was deployed."""
    socket.setdefaulttimeout(SMTP_TIMEOUT)
    return Mailer(config_setup(json.loads(CONFIG.read_text(encoding="utf-8"))), boto3.Session())


class Mailer:
    """Delivers messages by all channels."""

    def __init__(self, config: dict[str, Any], session: boto3.Session) -> None:
        self.config = config
        self.session = session
        self.reached: deque[tuple[str, ...]] = deque(maxlen=MOST_KNOWN)
        """The deliveries of this process: a message's id and the recipient. SQS may deliver a message twice."""

    def process(self, record: Mapping[str, Any], milliseconds_left: Callable[[], int]) -> None:
        """Unpack and deliver a message.

        Everything is rendered before anything is sent: a message that cannot be rendered reaches nobody twice.

        :raises UndeliverableError: somebody was not reached, or there is nobody to notify of a group.
        """
        reserve = min(RESERVE, milliseconds_left() // 2)
        message = unpacked(record["body"])
        check_sender(self.config, message, record["attributes"].get("SenderId", ""))
        if not message["resources"]:
            raise UndeliverableError("the message is about nothing")
        recipients = Recipients(self.config)
        message = with_recipients(with_subject(message), recipients)
        channels = [channel(self.config, self.session, recipients) for channel in CHANNELS]
        deliveries = [delivery for channel in channels for delivery in channel.deliveries(message)]
        failures = [f"{shown(target)} {why}" for target, why in recipients.refused.items()]
        reported = {id(resource) for channel in channels for resource in channel.reported}
        failures += [
            f"there is nobody to notify of {each.get('GroupId') or each.get('account_id')}"  # the watch has an account
            for each in message["resources"]
            if id(each) not in reported
        ]
        for delivery in deliveries:
            # Killed for its time, the process would forget who was reached.
            has_time = milliseconds_left() >= reserve
            failures += self.attempt(record["messageId"], delivery, has_time=has_time)
        if failures:
            raise UndeliverableError("; ".join(failures))
        undone = ", ".join(str(each.get("GroupId")) for each in message["resources"] if each.get(RESTORED.annotation))
        line = f"undone in {message.get('account_id')} {message.get('region')}: {undone}"
        if UNDONE.fullmatch(line):  # an undo itself has no log in the account
            log.info(line)

    def attempt(self, message_id: str, delivery: Delivery, *, has_time: bool) -> list[str]:
        """Make one delivery; return what went wrong, so that the next one gets its try."""
        target, key = delivery.target, (message_id, *delivery.key)
        if key in self.reached:
            log.info("%s was reached before", target)
            return []
        if not has_time:
            return [f"{target}: no time is left in this try"]
        try:
            delivery.deliver()
        except Exception as error:  # noqa: BLE001 - a channel and AWS raise anything
            log.exception("nothing was delivered to %s", target)
            return [f"{target}: {error}"]
        log.info("message %s was delivered to %s", message_id, target)  # `check --canary` looks for it
        self.reached.append(key)
        return []


def unpacked(body: str) -> dict[str, Any]:
    """Return the message of a body, as c7n packs it: compressed JSON, in base64."""
    inflater = zlib.decompressobj()
    text = inflater.decompress(base64.b64decode(body), MOST_UNPACKED)
    if inflater.unconsumed_tail:
        raise UndeliverableError(f"the message is longer than {MOST_UNPACKED} bytes once it is unpacked")
    message: dict[str, Any] = json.loads(text)
    return message


def check_sender(config: dict[str, Any], message: dict[str, Any], sender: str) -> None:
    """Check that a message is to come from `from_address`, and is about the account whose role sent it.

    `senders` says which roles there are; without it, any account is right. SQS itself sets the sender's id, which for a
    role is `AROA…:session`, and no account. A role's id is unique.
    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html (SenderId)
    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html#identifiers-unique-ids

    :raises UndeliverableError: it is to come from somebody else, is about another account, or the role is not listed.
    """
    known = config.get("from_address")
    if (named := message["action"].get("from", known)) != known:
        raise UndeliverableError(f"the message is to come from {named!r:.80}, which is not from_address in mailer.yml")
    if "senders" not in config:
        return
    role, account = sender.partition(":")[0], message.get("account_id")
    own = config["senders"].get(role)
    if own is None or own != account:
        fix = f"it may send about {own}" if own else "add it to senders in mailer.yml"
        raise UndeliverableError(f"{role or 'somebody'} sent a message about account {account!r:.40}: {fix}")


def with_recipients(message: dict[str, Any], recipients: Recipients) -> dict[str, Any]:
    """Return a message for the targets alone that a channel delivers to, and that may get messages."""

    def gets(target: str) -> bool:
        if len(target) <= LONGEST and any(channel.takes(target) for channel in CHANNELS):
            return recipients.allow_target(target)
        recipients.refused[target] = "is not a recipient that the mailer knows"
        return False

    action = message["action"]
    lists = {key: action[key] for key in ("to", "cc", "owner_absent_contact") if key in action}
    return message | {"action": action | {key: list(filter(gets, targets)) for key, targets in lists.items()}}


def with_subject(message: dict[str, Any]) -> dict[str, Any]:
    """Return a message with its subject as text: no channel interprets it.

    c7n leaves `{account_id}` and `{region}` in the subject of its own `notify`: they are filled in.
    """
    subject = message["action"].get("subject") or f"Open ingress: {message['policy']['name']}"
    for name in ("account_id", "region"):
        subject = subject.replace(f"{{{name}}}", str(message.get(name, "")))
    return message | {"action": message["action"] | {"subject": plain(subject, MOST_SUBJECT)}}
