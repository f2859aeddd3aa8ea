"""Run the policies' functions again on the events on which they failed: `c7n-ingress replay --region us-east-1`.

After three tries, Lambda puts an event into the queue custodian-open-ingress-failed, as the body of a message:
https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html#invocation-dlq. SQS cannot send such a
message back to its function, so this command does. If the function succeeds, the message is deleted. An event may run
late or twice: the policies decide on what is true when they run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from c7n_ingress_tools.errors import CommandError
from c7n_ingress_tools.names import POLICIES, Outcome, is_policy

QUEUE = f"{POLICIES}-failed"
LONGEST = 900
"""How many seconds a Lambda can run."""

WAIT = 3
"""How many seconds to wait for a message. Without a wait, SQS asks only some of its servers, and may find nothing:
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-short-and-long-polling.html
"""

NAME = re.compile(r"[\w-]{1,64}", re.ASCII)
"""What Lambda takes as the name of a function. The name in an event can be anything."""

PATIENT = Config(read_timeout=LONGEST + 30, retries={"total_max_attempts": 1})
"""One try: with a second one, an event with a late answer would run twice at once."""


def replay(session: boto3.Session) -> Iterator[Outcome]:
    """Run the function of each event in the queue, and yield the outcomes one by one.

    :raises CommandError: there is no queue in the region.
    """
    sqs, client = session.client("sqs"), session.client("lambda", config=PATIENT)
    try:
        url = sqs.get_queue_url(QueueName=QUEUE)["QueueUrl"]
    except sqs.exceptions.QueueDoesNotExist as error:
        raise CommandError(
            f"{session.region_name}: there is no queue {QUEUE}: is it the right account and region?"
        ) from error
    left: dict[str, str] = {}
    try:
        # A message stays hidden while its function runs, and until all have been received.
        asked = {"QueueUrl": url, "VisibilityTimeout": LONGEST + 60, "WaitTimeSeconds": WAIT}
        while batch := sqs.receive_message(**asked).get("Messages"):
            (message,) = batch
            again = message["MessageId"] in left
            left[message["MessageId"]] = message["ReceiptHandle"]
            if again:  # so much time has passed that messages are visible again
                break
            outcome = hand_over(client, message["Body"])
            if outcome.done:
                sqs.delete_message(QueueUrl=url, ReceiptHandle=left.pop(message["MessageId"]))
            yield outcome
    finally:
        for receipt in left.values():
            with suppress(sqs.exceptions.MessageNotInflight, sqs.exceptions.ReceiptHandleIsInvalid):  # visible again
                sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=receipt, VisibilityTimeout=0)


def hand_over(client: Any, body: str) -> Outcome:
    """Invoke the function of an event, and wait for its answer."""
    try:
        name = function_of(json.loads(body))
    except (ValueError, RecursionError) as error:
        return Outcome(f"{body:.60}", str(error), done=False)
    try:
        answer = client.invoke(FunctionName=name, Payload=body.encode())
        said = answer["Payload"].read().decode(errors="replace")
    except (BotoCoreError, ClientError) as error:
        return Outcome(name, str(error), done=False)
    return Outcome(name, said, done=False) if "FunctionError" in answer else Outcome(name, "done")


def function_of(event: Any) -> str:
    """Return the name of an event's function: it is the name of the rule in the event.

    :raises ValueError: no function of the pack can have such a name.
    """
    match event:
        case {"configRuleName": str(name)}:
            pass
        case {"source": "aws.events", "resources": [str(rule), *_]}:
            name = rule.rpartition("/")[2]
        case {"source": "aws.ec2", "detail-type": "AWS API Call via CloudTrail"}:
            name = f"{POLICIES}-cloudtrail"
        case _:
            name = ""
    if not (is_policy(name) and NAME.fullmatch(name)):
        raise ValueError("no policy of the pack receives such an event: look at it, and delete the message")
    return name
