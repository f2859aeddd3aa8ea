"""What the pack has in an account, found by its names."""

from __future__ import annotations

from typing import NamedTuple

import boto3

POLICIES = "custodian-open-ingress"
MAILER = "custodian-mailer"
VERSION_TAG = "c7n-ingress-version"
"""The tag with the version of the mailer's function: its code may hold secrets, so nothing reads it."""

COUNTS = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible", "ApproximateNumberOfMessagesDelayed")


class Outcome(NamedTuple):
    """What a command did to a function."""

    function: str
    said: str
    done: bool = True


def is_policy(name: str) -> bool:
    """Whether a function, and so its rule, belongs to one of the pack's policies, of any version."""
    return name == POLICIES or name.startswith(f"{POLICIES}-")


def functions(session: boto3.Session) -> set[str]:
    """Return the names of the region's Lambdas that are the pack's: the policies' and the mailer."""
    names = session.client("lambda").get_paginator("list_functions").paginate().search("Functions[].FunctionName")
    return {name for name in names if is_policy(name) or name == MAILER}


def messages(session: boto3.Session, queue: str) -> int | None:
    """Return how many messages are in a queue, with those that are being processed; None if there is no queue."""
    sqs = session.client("sqs")
    try:
        url = sqs.get_queue_url(QueueName=queue)["QueueUrl"]
    except sqs.exceptions.QueueDoesNotExist:
        return None
    return sum(map(int, sqs.get_queue_attributes(QueueUrl=url, AttributeNames=list(COUNTS))["Attributes"].values()))
