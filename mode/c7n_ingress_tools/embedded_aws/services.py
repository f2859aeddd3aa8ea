"""How functions of moto are replaced, and what DynamoDB, Lambda, SQS and Systems Manager do that moto's do not.

Config, EC2 and Logs have files of their own.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from functools import wraps
from threading import Lock
from typing import Any

from moto.awslambda.models import LambdaFunction, lambda_backends
from moto.dynamodb.models import DynamoDBBackend
from moto.sqs.models import Message, SQSBackend
from moto.ssm.responses import SimpleSystemManagerResponse

from c7n_ingress_tools.embedded_aws.ec2 import behaviour

Moto = Callable[..., Any]
"""A function of moto that is replaced."""

CODE = "/code-of-a-function/"
"""The path under which the embedded AWS serves deployed zips."""

UPDATING = Lock()


def replaces(owner: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make a function replace the one of the same name in a class of moto, or add it there.

    Its first argument is the function that it replaces.
    """

    def put(function: Callable[..., Any]) -> Callable[..., Any]:
        replaced = getattr(owner, function.__name__, None)
        setattr(owner, function.__name__, wraps(function)(lambda *args, **kwargs: function(replaced, *args, **kwargs)))
        return function

    return put


@replaces(DynamoDBBackend)
def update_item(moto_s: Moto, *args: Any, **kwargs: Any) -> Any:
    """Check the condition and make the update in one step. moto checks it, and writes later.

    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/WorkingWithItems.html#WorkingWithItems.ConditionalUpdate
    """
    with UPDATING:
        return moto_s(*args, **kwargs)


@replaces(LambdaFunction)
def get_code(moto_s: Moto, function: LambdaFunction) -> dict[str, Any]:
    """Return what GetFunction does, with an address of this AWS, and with the reserved concurrency also where it is 0.

    https://docs.aws.amazon.com/lambda/latest/api/API_GetFunction.html
    """
    found: dict[str, Any] = moto_s(function)
    path = f"{CODE}{function.account_id}/{function.region}/{function.function_name}"
    found["Code"]["Location"] = os.environ["AWS_ENDPOINT_URL"] + path
    if function.reserved_concurrency is not None:
        found["Concurrency"] = {"ReservedConcurrentExecutions": function.reserved_concurrency}
    return found


def code_at(path: str) -> bytes | None:
    """Return the zip that an address is for; None if it is for none."""
    if not path.startswith(CODE):
        return None
    account, region, name = path.removeprefix(CODE).split("/")
    code: bytes = lambda_backends[account][region].get_function(name).code_bytes
    return code


@replaces(SQSBackend)
def is_message_valid_based_on_retention_period(_: object, sqs: SQSBackend, queue_name: str, message: Message) -> bool:
    """Whether a message is younger than its queue's retention. moto counts all messages of the queue for each."""
    retention: int = vars(sqs.get_queue(queue_name))["message_retention_period"]
    sent: int = vars(message)["sent_timestamp"]
    return sent / 1000 + retention > time.time()


@replaces(SimpleSystemManagerResponse)
def describe_instance_information(_: object, response: SimpleSystemManagerResponse) -> str:
    """List the instances that a filter by id names, all in one page.

    https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_DescribeInstanceInformation.html
    """
    filters = response._get_param("Filters")
    wanted = {value for each in filters if each["Key"] == "InstanceIds" for value in each["Values"]}
    return json.dumps({"InstanceInformationList": [each for each in behaviour.nodes if each["InstanceId"] in wanted]})
