"""Take the pack out of a region: `c7n-ingress uninstall --region us-east-1 [--dryrun] [NAME ...]`.

Whatever bears the pack's names goes, by whichever version it was made: each policy's Config rule or EventBridge rule
and its Lambda, then the mailer. The mailer stays while messages wait for it: run the command again. With names, these
policies go and nothing else. Groups stay as they are. What `mode/stack.yml` made is CloudFormation's to delete, last.
Custodian's own LambdaManager does the work, as its tool `mugc` has it do, which is in no package.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import boto3
from c7n.mu import CloudWatchEventSource, ConfigRule, LambdaFunction, LambdaManager

from c7n_ingress_tools.names import MAILER, POLICIES, is_policys

COUNTS = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible", "ApproximateNumberOfMessagesDelayed")


def leave(session: boto3.Session, names: Sequence[str] = (), *, dryrun: bool = False) -> str:
    """Take rules and Lambdas away, printing each; give what is wrong or keeps the mailer, empty if nothing does.

    :param names: those that go; without any, all of the pack's, and the mailer.
    :raises botocore.exceptions.ClientError: AWS refused. What was printed is gone; the rest goes with the next run.
    """
    factory = lambda: session  # noqa: E731 - what c7n takes
    manager = LambdaManager(factory)
    there = deployed(session)
    if unknown := sorted(set(names) - there):
        return f"{', '.join(unknown)}: no policy of the pack has such a Lambda or rule here, so nothing was taken away"
    for name in sorted(names or there):
        triggers = [ConfigRule({}, factory), CloudWatchEventSource({}, factory)]
        take(f"Lambda {name}, with its rules", partial(manager.remove, function(name, triggers)), dryrun=dryrun)
    mailer = MAILER in functions(session)
    if not there and not mailer:
        return "nothing of the pack is here: is it the right region?"
    if names or not mailer:
        return ""
    if waiting := messages(session, MAILER):
        return f"{waiting} messages wait for the mailer, which stays: run this again when they are delivered"
    client = session.client("lambda")
    for mapping in client.list_event_source_mappings(FunctionName=MAILER)["EventSourceMappings"]:
        uuid = mapping["UUID"]
        take(f"trigger {uuid} of {MAILER}", partial(client.delete_event_source_mapping, UUID=uuid), dryrun=dryrun)
    take(f"Lambda {MAILER}", partial(manager.remove, function(MAILER, [])), dryrun=dryrun)
    return ""


def deployed(session: boto3.Session) -> set[str]:
    """Give the names of the policies' Lambdas, and of rules whose Lambda somebody has deleted already."""
    rules = session.client("config").get_paginator("describe_config_rules").paginate()
    events = session.client("events").get_paginator("list_rules").paginate(NamePrefix=POLICIES)
    names = functions(session)
    names |= {rule["ConfigRuleName"] for page in rules for rule in page["ConfigRules"]}
    names |= {rule["Name"] for page in events for rule in page["Rules"]}
    return set(filter(is_policys, names))


def functions(session: boto3.Session) -> set[str]:
    """Give the names of all Lambdas of the region."""
    pages = session.client("lambda").get_paginator("list_functions").paginate()
    return {each["FunctionName"] for page in pages for each in page["Functions"]}


def function(name: str, triggers: list[object]) -> LambdaFunction:
    """Give a deployed function as c7n's manager takes it to remove it: by its name, with what invokes it."""
    unknown = dict.fromkeys(("description", "handler", "memory_size", "role", "runtime", "timeout"), "")
    return LambdaFunction({**unknown, "name": name, "events": triggers}, None)


def messages(session: boto3.Session, queue: str) -> int:
    """Give how many messages are in a queue, those that somebody works on included; none if there is no queue."""
    sqs = session.client("sqs")
    try:
        url = sqs.get_queue_url(QueueName=queue)["QueueUrl"]
    except sqs.exceptions.QueueDoesNotExist:
        return 0
    return sum(map(int, sqs.get_queue_attributes(QueueUrl=url, AttributeNames=list(COUNTS))["Attributes"].values()))


def take(what: str, away: Callable[[], object], *, dryrun: bool) -> None:
    """Take something away and say so, or say that it would go."""
    if not dryrun:
        away()
    print(f"{'would go' if dryrun else 'gone'}: {what}")
