"""SQS with many messages: moto counts all messages of a queue again for each that it takes or hands out."""

from __future__ import annotations

import time

from moto.sqs import models, urls
from moto.sqs.models import Message, SQSBackend, sqs_backends


class Backend(SQSBackend):
    """moto's SQS, which looks only at a message's age to see whether it is too old."""

    _url_module = urls  # moto looks for it beside this file

    def is_message_valid_based_on_retention_period(self, queue_name: str, message: Message) -> bool:
        """Whether a message has not outlived its queue's retention."""
        kept = self.get_queue(queue_name).message_retention_period
        return message.sent_timestamp / 1000 + kept > time.time()


def now() -> float:
    """Return the milliseconds since 1970, at a tenth of what moto's way through two dates takes."""
    return time.time() * 1000


def install() -> None:
    """Make moto serve this SQS, where it has none yet."""
    sqs_backends.backend = Backend
    models.unix_time_millis = now
