"""The mailer's Lambda, called for each message that waits in its queue, until none is left: `… CONFIGURATION`.

It runs the code that `c7n_ingress_tools.mailer.deploy` deploys, from where it lies and not from the zip. What calls it
does as Lambda does for a queue: it hands over one message a call, and deletes those that the function does not
report.

Source: https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
"""

from __future__ import annotations

import json
import logging
import sys
import tempfile
from pathlib import Path
from typing import Any

import boto3

from c7n_ingress_tools.mailer import deploy, lambda_entry

MOST = 10  # messages that SQS returns at once


class Context:
    """Lambda's context of a call: here, that there is time."""

    @staticmethod
    def get_remaining_time_in_millis() -> int:
        """Return what is left of a minute."""
        return 60_000


def main() -> None:
    """Deliver what waits in the queue of the configuration, which the command line names."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    config = deploy.read_config(Path(sys.argv[1]))
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", suffix=".json") as deployed:
        json.dump(config, deployed)
        deployed.flush()
        lambda_entry.CONFIG = Path(deployed.name)
        deliver(config["queue_url"])


def deliver(queue: str) -> None:
    """Hand over what waits in a queue, message by message."""
    sqs = boto3.client("sqs")
    asked = {"QueueUrl": queue, "MaxNumberOfMessages": MOST, "AttributeNames": ["All"]}
    while messages := sqs.receive_message(**asked).get("Messages"):
        done = [each for each in messages if not lambda_entry.handle(_event(each), Context)["batchItemFailures"]]
        if done:
            entries = [{"Id": each["MessageId"], "ReceiptHandle": each["ReceiptHandle"]} for each in done]
            sqs.delete_message_batch(QueueUrl=queue, Entries=entries)


def _event(message: dict[str, Any]) -> dict[str, Any]:
    """Return the event of one message."""
    record = {"messageId": message["MessageId"], "body": message["Body"], "attributes": message["Attributes"]}
    return {"Records": [record]}
