"""SQS with many messages: for each message that arrives or leaves, moto counts all messages of the queue again."""

from __future__ import annotations

import time
from datetime import datetime

from moto.sqs import urls
from moto.sqs.models import Message, SQSBackend


class Backend(SQSBackend):
    """moto's SQS, which only reads a message's age to see whether it is too old."""

    _url_module = urls  # moto looks for it beside this file

    def is_message_valid_based_on_retention_period(self, queue_name: str, message: Message) -> bool:
        """Whether a message is younger than its queue's retention."""
        retention: int = vars(self.get_queue(queue_name))["message_retention_period"]
        sent: int = vars(message)["sent_timestamp"]
        return sent / 1000 + retention > time.time()


def milliseconds(dt: datetime | None = None) -> float:
    """Return the milliseconds since 1970, in a tenth of the time that moto takes with two dates."""
    return (dt.timestamp() if dt else time.time()) * 1000
