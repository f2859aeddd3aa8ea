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

import boto3

from c7n_ingress_tools.mailer import deploy, lambda_entry

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
    asked = {"QueueUrl": queue, "MaxNumberOfMessages": 10, "AttributeNames": ["All"]}
    while messages := sqs.receive_message(**asked).get("Messages"):
        for each in messages:
            record = {"messageId": each["MessageId"], "body": each["Body"], "attributes": each["Attributes"]}
            if not lambda_entry.handle({"Records": [record]}, CONTEXT)["batchItemFailures"]:
                sqs.delete_message(QueueUrl=queue, ReceiptHandle=each["ReceiptHandle"])
