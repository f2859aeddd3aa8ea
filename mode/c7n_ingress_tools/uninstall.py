"""Uninstall the pack from a region: everything with its names, of any version, but not what `mode/stack.yml` made.

Custodian's LambdaManager does the work, as in its tool `mugc`, which is in no package.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import boto3
from c7n.mu import CloudWatchEventSource, ConfigRule, LambdaFunction, LambdaManager

from c7n_ingress_tools.names import MAILER, POLICIES, functions, is_policy, messages


def uninstall(session: boto3.Session, names: Sequence[str] = (), *, dryrun: bool = False) -> str:
    """Delete rules and Lambdas, and print each.

    :param names: the policies to delete; by default all of the pack's, and the mailer.
    :returns: what is wrong, or why the mailer stays; empty if all is done.
    :raises botocore.exceptions.ClientError: AWS refused. What was printed is gone. The next run deletes the rest.
    """

    def factory() -> boto3.Session:
        return session

    def remove(what: str, delete: Callable[..., object], *which: object, **request: object) -> None:
        if not dryrun:
            delete(*which, **request)
        print(f"{'would delete' if dryrun else 'deleted'}: {what}")

    manager, client = LambdaManager(factory), session.client("lambda")
    present = deployed(session)
    if unknown := sorted(set(names) - present):
        return f"{', '.join(unknown)}: no policy of the pack has such a Lambda or rule here, so nothing was deleted"
    for name in sorted(names or present):
        triggers = [ConfigRule({}, factory), CloudWatchEventSource({}, factory)]
        remove(f"Lambda {name}, with its rules", manager.remove, function(name, triggers))
    mailer = MAILER in functions(session)
    if not present and not mailer:
        return "nothing of the pack is here: is it the right account and region?"
    if names or not mailer:
        return ""
    if waiting := messages(session, MAILER):
        return f"{waiting} messages wait for the mailer, which stays: run this again when they are delivered"
    for mapping in client.list_event_source_mappings(FunctionName=MAILER)["EventSourceMappings"]:
        uuid = mapping["UUID"]
        remove(f"trigger {uuid} of {MAILER}", client.delete_event_source_mapping, UUID=uuid)
    remove(f"Lambda {MAILER}", manager.remove, function(MAILER, []))
    return ""


def deployed(session: boto3.Session) -> set[str]:
    """Return the names of the policies' Lambdas, and of rules whose Lambda somebody has deleted already."""
    rules = session.client("config").get_paginator("describe_config_rules").paginate()
    events = session.client("events").get_paginator("list_rules").paginate(NamePrefix=POLICIES)
    names = [*functions(session), *rules.search("ConfigRules[].ConfigRuleName"), *events.search("Rules[].Name")]
    return set(filter(is_policy, names))


def function(name: str, triggers: list[object]) -> LambdaFunction:
    """Return a deployed function in the form that c7n's manager needs to remove it: its name and what invokes it."""
    unknown = dict.fromkeys(("description", "handler", "memory_size", "role", "runtime", "timeout"), "")
    return LambdaFunction({**unknown, "name": name, "events": triggers}, None)
