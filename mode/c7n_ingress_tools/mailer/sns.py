"""Amazon SNS: plain text to topics, in every partition and region."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, ClassVar

from c7n_ingress_tools.mailer.channel import Channel, Delivery
from c7n_ingress_tools.mailer.facts import DIGEST, GROUPS, Limits
from c7n_ingress_tools.mailer.render import text

SUBJECT_LIMIT = 99  # SNS: "less than 100 characters"
MESSAGE_LIMIT = 262_144  # SNS: bytes


class Topics(Channel):
    """SNS topics."""

    TARGET = re.compile(r"arn:aws[a-z-]*:sns:(?P<region>[a-z0-9-]+):\d{12}:[\w-]+(\.fifo)?")
    LIMITS: ClassVar[Mapping[str, Limits]] = {GROUPS: Limits(10, 100, 12), DIGEST: Limits(25, 150, 8)}

    def deliveries(self, message: Mapping[str, Any]) -> Iterator[Delivery]:
        """Return each topic, and what publishes the message there."""
        for found in self.targets(message):
            body = fitting(text(self.facts(message, message["resources"])))
            yield Delivery(found[0], (found[0],), partial(self.publish, found, message["action"]["subject"], body))

    def publish(self, found: re.Match[str], subject: str, body: str) -> None:
        """Publish to a topic, in its own region."""
        client = self.session.client("sns", region_name=found["region"])
        client.publish(TopicArn=found[0], Subject=subject[:SUBJECT_LIMIT], Message=body)


def fitting(text: str) -> str:
    """Cut a text that SNS would refuse for its size, after a whole line, and say so in its last one.

    https://docs.aws.amazon.com/sns/latest/api/API_Publish.html (Message: 262,144 bytes of UTF-8)
    """
    if len(text.encode()) <= MESSAGE_LIMIT:
        return text
    note = "\n\nThe message was too long for SNS, and is cut here. The policy's log has each change."
    cut = text.encode()[: MESSAGE_LIMIT - len(note)].decode(errors="ignore")
    return cut.rpartition("\n")[0] + note
