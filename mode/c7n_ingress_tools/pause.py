"""Stop the policies' functions of a region for a while, and start them again: reserved concurrency 0, and back.

Lambda keeps the events that it has already for six hours. New ones go to the dead-letter queue at once, without any
attempt, and stay there for 14 days:
https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html,
https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html
The mailer is not stopped: SQS would count each attempt, and put messages that nobody read into a dead-letter queue.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timezone
from typing import NamedTuple

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from c7n_ingress_tools.names import Outcome, functions, is_policy

TAG = "c7n-ingress-paused"
"""A function's tag: since when it is paused, who paused it, and its reserved concurrency before."""

VALUE = re.compile(r"(?P<since>\S+) by (?P<by>.+) was (?P<before>none|\d+)")
IN_NO_TAG = re.compile(r"[^\w .:/=+@-]")
"""What an ARN may have and a tag's value may not: the comma of a session's name."""


class Paused(NamedTuple):
    """What the tag of a paused function says."""

    since: str
    by: str
    before: str
    """The function's reserved concurrency before, or `none`."""

    def __str__(self) -> str:
        """Return it as the tag's value."""
        return f"{self.since} by {IN_NO_TAG.sub('_', self.by)} was {self.before}"


def paused(tags: Mapping[str, str]) -> Paused | None:
    """Return who paused a function with these tags; None if nobody did."""
    match = VALUE.fullmatch(tags.get(TAG, ""))
    return Paused(**match.groupdict()) if match else None


def pause(session: boto3.Session) -> Iterator[Outcome]:
    """Set the reserved concurrency of each of the policies' functions to 0, and tag it with what it was.

    The tag comes first: a run that is interrupted leaves no function without it. If AWS refuses to stop the function,
    the tag is removed again.
    """
    client = session.client("lambda")
    since = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    by = session.client("sts").get_caller_identity()["Arn"][-180:]  # a tag's value may have 256 characters

    def stop(name: str, arn: str, tags: Mapping[str, str], concurrency: int | None) -> Outcome:
        if concurrency == 0 and (pause := paused(tags)):
            return Outcome(name, f"paused already, since {pause.since} by {pause.by}")
        if concurrency == 0:
            return Outcome(name, "has the reserved concurrency 0 already, and not by this command: it is left alone")
        before = "none" if concurrency is None else str(concurrency)
        client.tag_resource(Resource=arn, Tags={TAG: str(Paused(since, by, before))})
        try:
            client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
        except ClientError:
            client.untag_resource(Resource=arn, TagKeys=[TAG])
            raise
        return Outcome(name, "paused")

    yield from _each(session, stop)


def resume(session: boto3.Session) -> Iterator[Outcome]:
    """Restore the reserved concurrency of each function that ``pause`` stopped, and remove the tag."""
    client = session.client("lambda")

    def start(name: str, arn: str, tags: Mapping[str, str], concurrency: int | None) -> Outcome:
        pause = paused(tags)
        if pause is None and concurrency == 0:
            line = f"aws lambda delete-function-concurrency --region {session.region_name} --function-name {name}"
            return Outcome(name, f"has the reserved concurrency 0, and not by this command: {line}", done=False)
        if pause is None:
            return Outcome(name, "was not paused")
        if concurrency == 0 and pause.before == "none":
            client.delete_function_concurrency(FunctionName=name)
        elif concurrency == 0:
            client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=int(pause.before))
        client.untag_resource(Resource=arn, TagKeys=[TAG])
        return Outcome(name, f"runs again; it was paused since {pause.since} by {pause.by}")

    yield from _each(session, start)


def _each(
    session: boto3.Session, change: Callable[[str, str, Mapping[str, str], int | None], Outcome]
) -> Iterator[Outcome]:
    """Change each of the policies' functions, by its name, ARN, tags and reserved concurrency.

    If AWS refuses one of them, for example because it is being deployed, the others are changed all the same.
    """
    client = session.client("lambda")
    for name in sorted(filter(is_policy, functions(session))):
        try:
            found = client.get_function(FunctionName=name)
            concurrency = found.get("Concurrency", {}).get("ReservedConcurrentExecutions")
            arn = found["Configuration"]["FunctionArn"]
            # Not found["Tags"]: without lambda:ListTags, GetFunction returns no tags, and no error.
            yield change(name, arn, client.list_tags(Resource=arn)["Tags"], concurrency)
        except client.exceptions.ResourceNotFoundException:  # noqa: PERF203 - each function by itself
            yield Outcome(name, "was deleted meanwhile")
        except (BotoCoreError, ClientError) as error:
            yield Outcome(name, f"failed, so run this command again: {error}", done=False)
