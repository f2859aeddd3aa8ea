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
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3

from c7n_ingress_tools.mailer import deploy, lambda_entry

MOST = 10
"""Messages that SQS returns at once."""

CONTEXT = SimpleNamespace(get_remaining_time_in_millis=lambda: 60_000)
"""Lambda's context of a call: here, that there is time."""


def main() -> None:
    """Deliver what waits in the queue of the configuration, which the command line names."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    path = Path(sys.argv[1])
    config = deploy.read_config(path)
    lambda_entry.CONFIG = path.with_suffix(".json")
    lambda_entry.CONFIG.write_text(json.dumps(config), encoding="utf-8")
    sqs, queue = boto3.client("sqs"), config["queue_url"]
    asked = {"QueueUrl": queue, "MaxNumberOfMessages": MOST, "AttributeNames": ["All"]}
    while messages := sqs.receive_message(**asked).get("Messages"):
        done = [each for each in messages if not lambda_entry.handle(_event(each), CONTEXT)["batchItemFailures"]]
        if done:
            entries = [{"Id": each["MessageId"], "ReceiptHandle": each["ReceiptHandle"]} for each in done]
            sqs.delete_message_batch(QueueUrl=queue, Entries=entries)


def _event(message: dict[str, Any]) -> dict[str, Any]:
    """Return the event of one message."""
    record = {"messageId": message["MessageId"], "body": message["Body"], "attributes": message["Attributes"]}
    return {"Records": [record]}
