"""Amazon SNS: plain text to topics, in every partition, region and account."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, partial
from typing import Any, ClassVar

import boto3
from c7n_mailer.sns_delivery import SnsDelivery

from c7n_ingress_tools.mailer.channel import Channel, Delivery, log
from c7n_ingress_tools.mailer.facts import DIGEST, GROUPS, Limits
from c7n_ingress_tools.mailer.render import text

SUBJECT_LIMIT = 99  # SNS: "less than 100 characters"
MESSAGE_LIMIT = 262_144  # SNS: bytes


class Topics(Channel):
    """SNS topics, in a policy or in the tags that `contact_tags` names."""

    TARGET = re.compile(r"arn:aws[a-z-]*:sns:[a-z0-9-]+:\d{12}:[\w-]+(\.fifo)?")
    LIMITS: ClassVar[Mapping[str, Limits]] = {GROUPS: Limits(10, 100, 12), DIGEST: Limits(25, 150, 8)}

    @cached_property
    def lookup(self) -> Any:
        """c7n-mailer's look-up of topics in tags."""
        return _Addresses(self.config, self.session, log)

    def deliveries(self, message: Mapping[str, Any]) -> Iterator[Delivery]:
        """Return each topic that may get the message, and what publishes it there: a tag may name any topic."""
        found: dict[str, Sequence[Any]] = self.lookup.get_sns_addrs_to_resources_map(message)
        for topic, resources in found.items():
            if self.recipients.allow(topic):
                body = fitting(text(self.facts(message, resources)))
                yield Delivery(topic, (topic,), partial(self.publish, topic, message["action"]["subject"], body))

    def publish(self, topic: str, subject: str, body: str) -> None:
        """Publish to a topic."""
        self.client(topic).publish(TopicArn=topic, Subject=subject[:SUBJECT_LIMIT], Message=body)

    def client(self, topic: str) -> Any:
        """Return a client in the topic's own region, under the role that `cross_accounts` names for its account."""
        _, _, _, region, account, _ = topic.split(":")
        role = self.config.get("cross_accounts", {}).get(account)
        if role is None:
            return self.session.client("sns", region_name=region)
        got = self.lookup.aws_sts.assume_role(RoleArn=role, RoleSessionName="CustodianNotification")["Credentials"]
        return boto3.client(
            "sns",
            region_name=region,
            aws_access_key_id=got["AccessKeyId"],
            aws_secret_access_key=got["SecretAccessKey"],
            aws_session_token=got["SessionToken"],
        )


class _Addresses(SnsDelivery):  # type: ignore[misc]  # c7n-mailer ships no types
    """c7n-mailer's look-up of topics, which knows the partition `aws` alone."""

    def target_is_sns(self, target: str) -> bool:
        """Whether a target is a topic."""
        return Topics.takes(target)


def fitting(text: str) -> str:
    """Cut a text that SNS would refuse for its size, after a whole line, and say so in its last one.

    https://docs.aws.amazon.com/sns/latest/api/API_Publish.html (Message: 262,144 bytes of UTF-8)
    """
    if len(text.encode()) <= MESSAGE_LIMIT:
        return text
    note = "\n\nThe message was too long for SNS, and is cut here. The policy's log has each change."
    cut = text.encode()[: MESSAGE_LIMIT - len(note)].decode(errors="ignore")
    return cut.rpartition("\n")[0] + note
